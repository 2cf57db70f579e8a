"""The form of a source, files that are here already, and several sources of one file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from wheel_shelf import FILES, MODEL, OTHER, SHA, Repository

from mmedge import cache, hub
from mmedge.errors import MmedgeError


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("openai/whisper-tiny", "hf:openai/whisper-tiny@main"),
        ("hf:openai/whisper-tiny", "hf:openai/whisper-tiny@main"),
        ("hf:whisper", "hf:owner/name@main"),
        ("pip:weights", "pip:weights==VERSION"),
        ("pip:--index-url=x==1", "pip:--index-url==VERSION"),
        ("pip:weights==1/../../x", "pip:weights==VERSION"),
        ("https://example.org/model.onnx", "hf:owner/name@revision#file, pip:"),
        ("whisper", "hf:owner/name@revision#file, pip:"),
        ("pip:weights==1.0#../x", "name a file below it"),
        ("file:x#/etc/passwd", "name a file below it"),
    ],
)
def test_a_malformed_source_is_answered_with_the_form_meant(source: str, fix: str) -> None:
    with pytest.raises(MmedgeError) as caught:
        hub.fetch(source, sha256=None)
    assert fix in caught.value.fix


def test_a_bare_path_is_answered_with_the_file_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MmedgeError) as caught:
        hub.fetch("models", sha256=None)
    assert caught.value.fix.endswith("file:models")


def test_a_checksum_that_is_none(shelf: Path) -> None:
    with pytest.raises(MmedgeError, match="is no sha256"):
        hub.fetch(MODEL, sha256="ABC")


def test_a_local_file_and_folder_are_used_where_they_are(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.bin").write_bytes(b"a")
    assert hub.fetch(f"file:{folder}#sub/a.bin", sha256=hashlib.sha256(b"a").hexdigest(), offline=True) == folder / "sub" / "a.bin"
    assert hub.fetch(f"file://{folder}", sha256=cache.tree_sha256(cache.index_of(folder))) == folder
    for source, what in [(f"file:{folder}", "has sha256 "), (f"file:{folder}#sub/a.bin", f"expected {OTHER}")]:
        with pytest.raises(MmedgeError, match=what):
            hub.fetch(source, sha256=OTHER)
    with pytest.raises(MmedgeError, match="there is no file or folder"):
        hub.fetch(f"file:{folder}/nothing", sha256=None)
    with pytest.raises(MmedgeError) as caught:
        hub.fetch(f"file:{folder}#b.bin", sha256=None)
    assert caught.value.fix == "nearest: sub/a.bin"


def test_the_first_source_that_has_it(repository: Repository) -> None:
    lines: list[str] = []
    sources = ["pip:gone==1#model.bin", "hf:some/model@main#weights/model.bin", "pip:never==1#asked"]
    assert hub.fetch_any(sources, sha256=SHA["weights/model.bin"], trace=lines.append).read_bytes() == FILES["weights/model.bin"]
    assert any("pip:gone==1#model.bin: pip finds no wheel" in line for line in lines)
    assert not any("never" in line for line in lines)


def test_no_source_has_it(repository: Repository) -> None:
    with pytest.raises(MmedgeError, match=r"no source had it: pip:gone==1#x: .* hf:some/model@main#weights/model.bin: .* expected") as caught:
        hub.fetch_any(["pip:gone==1#x", "hf:some/model@main#weights/model.bin"], sha256=OTHER)
    assert len(str(caught.value).splitlines()) == 2
