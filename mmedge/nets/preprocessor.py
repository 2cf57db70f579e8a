"""A checkpoint's image processor or feature extractor, as its files describe it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.documents import read_plain


def image_processor(folder: Path) -> dict[str, Any] | None:
    """The image processor's part of ``processor_config.json`` (transformers 5 puts it there), or ``preprocessor_config.json``; None where neither is there.

    Raises:
        MmedgeError: a file is damaged.
    """
    return _part(folder, "image_processor")


def feature_extractor(folder: Path) -> dict[str, Any] | None:
    """The same of a checkpoint that hears."""
    return _part(folder, "feature_extractor")


def _part(folder: Path, name: str) -> dict[str, Any] | None:
    nested = read_plain(folder / "processor_config.json", required=False).get(name)
    if isinstance(nested, dict):
        return nested
    found: dict[str, Any] = read_plain(folder / "preprocessor_config.json", required=False)
    return found or None
