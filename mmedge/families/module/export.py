"""Import the user's factory, where the user lets it run, and take the graphs it makes."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mmedge.errors import MmedgeError
from mmedge.families.module import Config, Options
from mmedge.family import Allow, Exported, Media, TorchGraph


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """Whatever the factory gives.

    Raises:
        MmedgeError: ``allow.code`` is not given, the factory is not installed or fails, or it gives something else than graphs.
    """
    if not allow.code:
        raise MmedgeError(f"the recipe wants to run code: {options.module}", "read that code; to run it, add --trust-code")
    factory = _find(options.module)
    torch.manual_seed(0)
    try:
        graphs = factory()
    except Exception as error:  # whatever the user's code does
        raise MmedgeError(f"{options.module} failed: {type(error).__name__}: {error}", "correct it: call it on its own to see where") from error
    return Exported(graphs=_checked(options.module, graphs), assets={}, config=Config(graphs=tuple(graphs)), cases=[])


def _find(name: str) -> Callable[[], Any]:
    package, _, attribute = name.partition(":")
    before = list(sys.path)
    sys.path[:] = search_path()
    importlib.invalidate_caches()
    try:
        found: Any = getattr(importlib.import_module(package), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise MmedgeError(f"{package} does not import: {error}", "install what it needs") from error
        raise MmedgeError(f"{package} is not installed", "pip install it, or put its folder on PYTHONPATH: code beside the recipe is not run") from error
    except Exception as error:  # whatever the user's code does
        raise MmedgeError(f"{package} does not import: {type(error).__name__}: {error}", "correct it") from error
    finally:
        sys.path[:] = before
    if not callable(found):
        raise MmedgeError(f"{package} has no function {attribute}", 'write it as module = "package.module:function"')
    function: Callable[[], Any] = found
    return function


def search_path() -> list[str]:
    """``sys.path`` without the folder that Python itself puts first: where the command was called is where a downloaded recipe may lie."""
    asked = {entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)}
    here = {"", ".", os.getcwd()}
    return [entry for index, entry in enumerate(sys.path) if entry and (index > 0 or entry not in here or entry in asked)]


def _checked(name: str, graphs: Any) -> dict[str, Any]:
    if not isinstance(graphs, dict) or not graphs or not all(isinstance(graph, TorchGraph) for graph in graphs.values()):
        raise MmedgeError(f"{name} gave something else than graphs", "return a dict: name -> mmedge.family.TorchGraph(module, inputs, outputs)")
    for key, graph in graphs.items():
        if not isinstance(key, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise MmedgeError(f"{name} calls a graph {key!r}", "use lower case letters, digits and _: it becomes the name of a file")
        if graph.dynamic and graph.other is None:
            raise MmedgeError(
                f"the graph {key} of {name} has dynamic axes and no second example", "give other={...}: inputs of other sizes, to be held against too"
            )
        if not isinstance(graph.module, torch.nn.Module) or not all(isinstance(one, torch.Tensor) for one in graph.inputs.values()) or not graph.outputs:
            raise MmedgeError(f"the graph {key} of {name} is not complete", "give it a torch module, inputs as tensors by name, and the names of its outputs")
    return graphs
