"""CUDA through cuda-python. The arithmetic of addresses is held against a stand-in; that its names and words are the real ones, against NVIDIA's wheels, which
import without a driver and refuse everything: nothing here has run on a GPU."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from backends.tensorrt import stand_in, stand_in_cuda, stand_in_gpu
from backends.tensorrt.stand_in_gpu import cudaError_t

from mmedge.backends.tensorrt import device, free_mb
from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled


def test_what_is_copied_comes_back_once_it_was_waited_for(gpu):
    stream, memory, there, back = device.Stream(), device.Memory(4000), device.Pinned(4000), device.Pinned(4000)
    sent, got = there.array("float32", (10, 100)), back.array("float32", (10, 100))
    sent[:] = np.arange(1000).reshape(10, 100)
    stream.upload(memory.address, there.address, 4000)
    stream.download(back.address, memory.address, 4000)
    assert not np.array_equal(got, sent)
    stream.wait()
    np.testing.assert_array_equal(got, sent)


def test_everything_is_freed_once(gpu):
    held = [device.Memory(10), device.Pinned(10), device.Stream()]
    held.append(held[2].capture(lambda: None))
    for one in reversed(held):
        for _ in range(2):
            (one.free if hasattr(one, "free") else one.close)()
    assert gpu.left() == []


def test_nothing_has_no_bytes_but_an_address(gpu):
    stream, memory, pinned = device.Stream(), device.Memory(0), device.Pinned(0)
    assert memory.address
    assert pinned.array("int64", (1, 0, 4)).shape == (1, 0, 4)
    stream.upload(memory.address, pinned.address, 0)
    stream.wait()


def test_addresses_are_aligned_as_tensorrt_wants_them(gpu):
    assert {one(size).address % 256 for one in (device.Memory, device.Pinned) for size in (1, 7, 300)} == {0}


def test_facts_of_the_board(gpu):
    device.Memory(10 << 20)
    assert (device.compute_capability(), device.cuda_version(), device.driver_version()) == ("8.7", "12.6", "12.6")
    assert device.memory() == device.Room(free_mb=8182, total_mb=8192) and free_mb() == 8182


def test_thor_is_called_by_its_new_name(monkeypatch):
    stand_in.install(monkeypatch, capability="10.1")
    assert device.compute_capability() == "11.0"


def test_too_much_memory_is_told_with_what_is_there(monkeypatch):
    stand_in.install(monkeypatch, size_bytes=100 << 20)
    kept = device.Memory(60 << 20)
    for one in (device.Memory, device.Pinned):
        with pytest.raises(MmedgeError, match=r"cudaErrorMemoryAllocation: out of memory: 50\.0 MB were asked for, of 40 MB that are free") as caught:
            one(50 << 20)
        assert "mmedge doctor" in caught.value.fix
    kept.free()


@pytest.mark.parametrize("status", [cudaError_t.cudaErrorInsufficientDriver, cudaError_t.cudaErrorNoDevice])
def test_no_driver_and_no_gpu_are_told_in_cudas_words(monkeypatch, status):
    stand_in.install(monkeypatch, status=status)
    for ask in (device.compute_capability, device.memory, device.Stream, lambda: device.Memory(1), lambda: device.Pinned(1)):
        with pytest.raises(MmedgeError, match=f"{status.name}: {stand_in_gpu.WORDS[status.name]}") as caught:
            ask()
        assert "--runtime nvidia" in caught.value.fix


def test_a_fault_on_the_gpu_is_told_and_everything_after_it(gpu):
    stream, pinned = device.Stream(), device.Pinned(100)
    freed = device.Memory(100)
    address = freed.address
    freed.free()
    stream.upload(address, pinned.address, 100)
    for _ in range(2):
        with pytest.raises(MmedgeError, match="cudaStreamSynchronize: cudaErrorIllegalAddress: an illegal memory access was encountered") as caught:
            stream.wait()
        assert "start the program again" in caught.value.fix


def test_recorded_work_runs_only_when_it_is_launched(gpu):
    stream, memory, pinned = device.Stream(), device.Memory(8), device.Pinned(8)
    values = pinned.array("int64", (1,))
    values[:] = 1
    recorded = stream.capture(lambda: stream.upload(memory.address, pinned.address, 8))
    stream.wait()
    assert bytes(gpu.memory[memory.address][:8]) == bytes([stand_in_gpu.RUBBISH]) * 8
    for value in (5, 6):
        values[:] = value
        recorded.launch()
        stream.wait()
        assert int.from_bytes(gpu.memory[memory.address][:8], sys.byteorder) == value


def test_what_cannot_be_recorded_leaves_the_stream_as_it_was(gpu):
    stream, memory, pinned = device.Stream(), device.Memory(8), device.Pinned(8)
    with pytest.raises(MmedgeError, match="cudaMalloc: cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"):
        stream.capture(lambda: device.Memory(8) and None)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream.capture(interrupted)
    assert not gpu.graphs
    stream.upload(memory.address, pinned.address, 8)
    stream.wait()


def test_without_cuda_python_its_extra_is_named(monkeypatch):
    stand_in.install(monkeypatch)
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotInstalled, match="cuda-python is not installed") as caught:
        device.compute_capability()
    assert "mmedge[jetson-jp6]" in caught.value.fix


def test_older_cuda_python_has_its_module_elsewhere(monkeypatch):
    stand_in.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuda.cudart", sys.modules["cuda.bindings.runtime"])
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert device.compute_capability() == "8.7"


REFUSED = """
from mmedge.backends.tensorrt import device, free_mb
from mmedge.errors import MmedgeError
print(device.cuda_version(), device.driver_version())
for ask in (device.compute_capability, device.memory, lambda: device.Memory(9), lambda: device.Pinned(9), device.Stream):
    try:
        print("had", ask())
    except MmedgeError as error:
        print(error.what, "|", error.fix)
"""
NAMES = "import importlib, sys; module = importlib.import_module(sys.argv[1]); print(all(hasattr(module, name) for name in sys.argv[2:]))"


@pytest.mark.full
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the wheels that are fetched are for x86-64")
@pytest.mark.parametrize(
    ("package", "module", "said"),
    [
        ("cuda-python==12.6.0", "cuda.cudart", "12.6 None"),
        ("cuda-bindings==12.9.4", "cuda.bindings.runtime", "12.9 None"),
        ("cuda-bindings==13.0.3", "cuda.bindings.runtime", "13.0 None"),
    ],
)
def test_the_real_modules_are_understood(tmp_path, package, module, said):
    """One of each extra's range. Without a driver they refuse every call; how they do it differs, and so do the places of their modules."""
    fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", str(tmp_path), package]
    subprocess.run(fetch, check=True)
    names = [name for name in vars(stand_in_cuda.CudaRuntime) if name.startswith("cuda")]
    environment = {"PYTHONPATH": f"{tmp_path}:.", "PATH": ""}
    told = subprocess.run([sys.executable, "-c", NAMES, module, *names], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"
    told = subprocess.run([sys.executable, "-c", REFUSED], env=environment, capture_output=True, text=True, check=True)
    first, *lines = told.stdout.splitlines()
    assert first == said
    assert len(lines) == 5
    assert all(line.startswith("CUDA refused cuda") and "--runtime nvidia" in line for line in lines)
    assert all("driver" in line.partition("|")[0] or "cuInit" in line for line in lines)
