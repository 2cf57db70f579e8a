from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def references() -> dict[str, Any]:
    """What other implementations answered: see make_references.py."""
    return json.loads(Path(__file__).with_name("references.json").read_text(encoding="utf-8"))
