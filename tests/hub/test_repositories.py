"""Files and folders of the Hugging Face hub, and its errors in two lines."""

from __future__ import annotations

import re
import shutil

import pytest
from wheel_shelf import FILES, OTHER, SHA, Repository, held

from mmedge import cache, hub
from mmedge.errors import MmedgeError


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
