"""Where a training stands, on the disk: enough to go on exactly as if it had never been interrupted.

::

    FOLDER/step-000120/model.safetensors        what is trained, and the buffers
    FOLDER/step-000120/optimizer.safetensors    AdamW's moments, by the names of the weights
    FOLDER/step-000120/state.json               the step, the losses so far, what is the best, and the sha256 of the other two

Nothing random is stored: the order of samples, their views and every dropout follow from the seed and the step. Each is written aside and renamed; one that is
damaged is passed over for the one before. The last two are kept, and the best.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.cache import sha256_of
from mmedge.distill.record import State
from mmedge.documents import disk_error, dump_json, read_json
from mmedge.errors import MmedgeError
from mmedge.need import need

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def trained(module: nn.Module) -> dict[str, Tensor]:
    """What changes: the weights that are trained, and all buffers."""
    weights = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
    return {**weights, **dict(module.named_buffers())}


def save(folder: Path, state: State, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Raises MmedgeError: the disk refuses, or a weight is not finite; what was saved before stays."""
    if bad := [name for name, value in trained(module).items() if not bool(torch.isfinite(value).all())]:
        raise MmedgeError(f"after step {state.step} the weight {bad[0]} is not finite", "lower learning_rate, and run it again: it goes on from what was kept")
    safetensors = need("safetensors.torch", extra="build")
    aside, done = folder / f".step-{state.step:06}.tmp", folder / f"step-{state.step:06}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        safetensors.save_file({name: value.detach().cpu().contiguous().clone() for name, value in trained(module).items()}, aside / MODEL)
        safetensors.save_file(_moments(module, optimizer), aside / OPTIMIZER)
        hashed = state.model_copy(update={"sha256": {name: sha256_of(aside / name) for name in (MODEL, OPTIMIZER)}})
        (aside / STATE).write_text(dump_json(hashed), encoding="utf-8")
        for path in aside.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(done, ignore_errors=True)
        os.replace(aside, done)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise disk_error(done, error) from error
    for old in steps(folder)[:-2]:
        if old != state.best:
            shutil.rmtree(folder / f"step-{old:06}", ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """Those that are there, ascending."""
    return sorted(int(path.name[5:]) for path in folder.glob("step-*") if re.fullmatch(r"step-\d{6,}", path.name))


def find(folder: Path, key: str) -> State | None:
    """The last undamaged state of this training; None where there is none. Another training's are removed."""
    for step in reversed(steps(folder)):
        path = folder / f"step-{step:06}"
        with contextlib.suppress(MmedgeError, OSError):
            state = read_json(path / STATE, State, fix="")
            if state.key != key:
                shutil.rmtree(folder)
                return None
            if state.step == step and all(sha256_of(path / name) == state.sha256.get(name) for name in (MODEL, OPTIMIZER)):
                return state
        shutil.rmtree(path, ignore_errors=True)
    return None


def load(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Into a module, and an optimizer, of the same form."""
    safetensors = need("safetensors.torch", extra="build")
    path = folder / f"step-{step:06}"
    weights, wanted = safetensors.load_file(path / MODEL), trained(module)
    if weights.keys() != wanted.keys():
        raise ValueError(f"{path} is of another module")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(weights[name])
    if optimizer is not None:
        _set_moments(module, optimizer, safetensors.load_file(path / OPTIMIZER))


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{kind}": value.detach().cpu().contiguous().clone()
        for name, weight in module.named_parameters()
        for kind, value in optimizer.state.get(weight, {}).items()
    }


def _set_moments(module: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    found: dict[str, dict[str, Any]] = {}
    for key, value in saved.items():
        name, _, kind = key.rpartition("/")
        found.setdefault(name, {})[kind] = value
    for name, weight in module.named_parameters():
        if name in found:  # the count of steps stays on the CPU, as AdamW has it
            optimizer.state[weight] = {kind: value if kind == "step" else value.to(weight.device) for kind, value in found[name].items()}
