"""mmedge: a trained multimodal model, on a small computer with a camera and a microphone.

``open(path, target=...)`` gives an assistant, ``Bundle.open(path).session(role, target=...)`` one model of it. Neither needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmedge.assistant.api import open_assistant as open
    from mmedge.bundle import Bundle
    from mmedge.errors import MmedgeError, MmedgeWarning

__version__ = "0.1.0"
__all__ = ["Bundle", "MmedgeError", "MmedgeWarning", "__version__", "open"]

_HOMES = {
    "open": ("mmedge.assistant.api", "open_assistant"),
    "Bundle": ("mmedge.bundle", "Bundle"),
    "MmedgeError": ("mmedge.errors", "MmedgeError"),
    "MmedgeWarning": ("mmedge.errors", "MmedgeWarning"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import mmedge`` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mmedge' has no attribute {name!r}")
    import importlib

    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
