"""Checkpoints of ``mmedge.nets.multimodal``: config.json, model.safetensors and, where they read texts, tokenizer.json. All that export needs."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from safetensors.torch import load_file, save

from mmedge.documents import M, dump_json, read_plain, replace_file, validate
from mmedge.errors import MmedgeError
from mmedge.family import Allow
from mmedge.nets.checkpoint import tokenizer
from mmedge.nets.multimodal import DualEncoder, Fusion
from mmedge.nets.multimodal_config import DualEncoderConfig, FusionConfig
from mmedge.nets.weight_files import WHOLE, few, refuse_bad_numbers, weight_files

Multimodal: TypeAlias = "DualEncoder | Fusion"

DAMAGED = "get an undamaged checkpoint"


def save_checkpoint(folder: Path, model: Multimodal, words: bytes | None = None) -> None:
    """Write a model into a folder; files that are there are replaced, each whole or not at all, config.json last.

    Args:
        words: tokenizer.json, of a model that reads texts.

    Raises:
        MmedgeError: NaN or infinity among the weights, or the folder cannot be written.
    """
    refuse_bad_numbers(type(model).__name__, model.state_dict().items())
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / WHOLE, save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, {"format": "pt"}))
    if words is not None:
        replace_file(folder / "tokenizer.json", words)
    replace_file(folder / "config.json", dump_json(model.config).encode())


def load_checkpoint(folder: Path, allow: Allow = Allow()) -> Multimodal:
    """In float32, in eval mode.

    Raises:
        MmedgeError: config.json names no architecture of ours or holds a wrong value; weights are missing, extra, of another shape, not finite or damaged.
    """
    kind = (read_plain(folder / "config.json").get("architectures") or [None])[0]
    model: Multimodal
    if kind == "MmedgeDualEncoder":
        model = DualEncoder(_read(folder, DualEncoderConfig))
    elif kind == "MmedgeFusion":
        model = Fusion(_read(folder, FusionConfig))
    else:
        raise MmedgeError(f"{folder} is neither a MmedgeDualEncoder nor a MmedgeFusion, but a {kind}", "give the folder that mmedge distill wrote")
    found = {name: value for path in weight_files(folder) for name, value in load_file(path).items()}
    wanted = model.state_dict()
    shapes = [name for name in found.keys() & wanted.keys() if found[name].shape != wanted[name].shape]
    for how, what, names in (
        ("does not fit its config.json: weights of another shape", "made up for another shape", shapes),
        (f"lacks weights of {kind}", "made up", wanted.keys() - found.keys()),
        (f"holds weights that {kind} has not", "left out", found.keys() - wanted.keys()),
    ):
        if names and not allow.weights:
            raise MmedgeError(f"{folder} {how}: {few(names)}", "get a complete checkpoint, or accept it as it is with --any-weights")
        if names:
            allow.accept(kind, what, sorted(names))
    model.load_state_dict({name: value for name, value in found.items() if name in wanted and name not in shapes}, strict=False)
    refuse_bad_numbers(str(folder), model.state_dict().items())
    return model.float().eval()


def tokenizer_of(folder: Path) -> bytes:
    """tokenizer.json. Raises MmedgeError: it is not there, damaged, or of another vocabulary."""
    found = tokenizer(folder)
    if found is None:
        raise MmedgeError(f"{folder} has no tokenizer.json, and its model reads texts", DAMAGED)
    return found


def _read(folder: Path, kind: type[M]) -> M:
    return validate(read_plain(folder / "config.json"), kind, str(folder / "config.json"), fix=DAMAGED)
