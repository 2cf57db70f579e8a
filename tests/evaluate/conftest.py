from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from mmedge.evaluate import choosing, classifying


@pytest.fixture
def bundle(monkeypatch):
    """A bundle of one model whose session is a stand-in; ``exact``: the session in fp32."""

    def made(session, *verbs, exact=None, config=None, role="eyes", family="dual_encoder"):
        model = SimpleNamespace(family=family, config=config or {}, graphs={}, graphs_for=lambda target: {})
        monkeypatch.setattr(choosing, "verbs_of", lambda one: set(verbs))
        monkeypatch.setattr(classifying, "verbs_of", lambda one: set(verbs))
        opened = lambda role, target, opens=None: contextlib.nullcontext(exact if opens else session)  # noqa: E731
        return SimpleNamespace(manifest=SimpleNamespace(name="b", models={role: model}), session=opened, path="b.bundle")

    return made
