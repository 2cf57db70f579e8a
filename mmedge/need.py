"""Import a heavy or optional package at the moment it is needed, or say what to install."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from mmedge.errors import MmedgeError


class NotInstalled(MmedgeError):
    """An optional package is missing: a check may then pass over what needs it, if it says so."""


def need(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` now.

    Args:
        module: the dotted name to import.
        extra: the extra of mmedge that brings it.

    Raises:
        NotInstalled: it is not there.
        MmedgeError: it is installed but broken (its own reason is given).
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise MmedgeError(f"{module} is installed but fails to import: {error}", f'pip install --force-reinstall "mmedge[{extra}]"') from error
        raise NotInstalled(f"{top} is not installed", f'pip install "mmedge[{extra}]"') from error
    except (ImportError, OSError) as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):  # a native module was interrupted while it started
            raise KeyboardInterrupt from error
        raise MmedgeError(f"{module} is installed but fails to import: {error}", f'pip install --force-reinstall "mmedge[{extra}]"') from error


def have(module: str) -> bool:
    """Whether ``module`` (a top-level name) is installed, without importing it."""
    return importlib.util.find_spec(module) is not None
