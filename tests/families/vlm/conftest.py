from __future__ import annotations

import pytest
from checkpoints.vlm import CHECKPOINTS
from vlm_made import make


@pytest.fixture(scope="session", params=list(CHECKPOINTS))
def made(request, tmp_path_factory):
    return make(tmp_path_factory.mktemp(request.param), CHECKPOINTS[request.param])


@pytest.fixture
def _no_guards(monkeypatch):
    """A random model stammers; what is compared is the arithmetic."""
    monkeypatch.setattr("mmedge.generate.decode.loops", lambda tokens: False)
