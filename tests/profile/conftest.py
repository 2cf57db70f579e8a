from __future__ import annotations

import pytest
from by_hand import save

from mmedge.profile.flops import Work, work


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Tables are as wide as the terminal: here, as wide as without one."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def counted(tmp_path):
    def count(nodes, feeds, weights=None, **how) -> Work:
        nodes = nodes if isinstance(nodes, list) else [nodes]
        return work(save(tmp_path / "hand.onnx", nodes, feeds, weights, **how), feeds)

    return count
