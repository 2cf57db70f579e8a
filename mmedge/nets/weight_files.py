"""The weight files of a checkpoint folder, as they must be before anything reads them: safetensors, whole, and all there."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
OTHERS = {".h5": "TensorFlow", ".msgpack": "Flax", ".gguf": "llama.cpp", ".onnx": "ONNX"}
"""What else may lie in a checkpoint's folder, and whose it is."""
NOT_WEIGHTS = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.bin", "scheduler.pt", "rng_state.pth"}

CONVERT = (
    "import sys, glob, torch; from safetensors.torch import save_file; "
    "save_file({name: value.clone().contiguous() for file in sorted(glob.glob(sys.argv[1])) "
    'for name, value in torch.load(file, map_location="cpu", weights_only=True).items()}, sys.argv[2], {"format": "pt"})'
)
"""A program of two arguments: pickled state dicts, and the file to write. ``weights_only`` executes nothing that is in them."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a model's weights, each opened once to see that it is whole.

    Raises:
        MmedgeError: there are none, or only pickles (with the command that converts them); a shard is missing; a file is damaged.
    """
    if (folder / WHOLE).is_file():
        files = [folder / WHOLE]
    elif (folder / INDEX).is_file():
        files = _shards(folder)
    else:
        raise no_weights(folder)
    for file in files:
        names_in(file)
    return files


def names_in(file: Path) -> list[str]:
    """The tensors of one file. Raises MmedgeError: it is damaged or cut off."""
    try:
        with safe_open(file, "pt") as opened:
            return list(opened.keys())
    except Exception as error:  # SafetensorError derives from Exception alone
        raise MmedgeError(f"{file} is damaged or cut off: {error}", "get it again") from error


def refuse_bad_numbers(name: str, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raises MmedgeError: NaN or infinity among the weights, which are named."""
    bad = [
        key for key, value in weights if value.is_floating_point() and value.numel() and not torch.isfinite(torch.stack(torch.aminmax(value.detach()))).all()
    ]
    if bad:
        raise MmedgeError(f"the weights of {name} hold NaN or infinity: {few(bad)}", "get an undamaged checkpoint")


def few(names: Iterable[str]) -> str:
    """The first three, and how many there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f", ... ({len(ordered)} in all)" if len(ordered) > 3 else "")


def _shards(folder: Path) -> list[Path]:
    parts = read_plain(folder / INDEX).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) and Path(name).name == name for name in parts.values()):
        raise MmedgeError(f"{folder / INDEX} does not say which file holds which weight", "get an undamaged checkpoint")
    wanted = sorted(set(parts.values()))
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        raise MmedgeError(f"{folder} lacks {few(missing)} of the {len(wanted)} files of its weights", "get the missing files too")
    return [folder / name for name in wanted]


def no_weights(folder: Path, wanted: str = WHOLE) -> MmedgeError:
    """What is wrong with a folder that lacks the file ``wanted``, and what to do."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in NOT_WEIGHTS) if folder.is_dir() else []
    named = [path for path in files if path.suffix == ".safetensors"]
    if named:
        return MmedgeError(f"{folder} holds {named[0].name}, but no {wanted}", f"name the file {wanted}, or get the whole checkpoint")
    pickles = [path for path in files if path.suffix in PICKLES]
    if pickles:
        pattern = "pytorch_model-*.bin" if pickles[0].name.startswith("pytorch_model-") else pickles[0].name
        arguments = " ".join(shlex.quote(str(folder / name)) for name in (pattern, wanted))
        return MmedgeError(
            f"{folder} holds its weights as a pickle ({pickles[0].name}), which can run code when it is read",
            f"convert it: python -c {shlex.quote(CONVERT)} {arguments}",
        )
    other = next((f" ({path.name} is of {OTHERS[path.suffix]})" for path in files if path.suffix in OTHERS), "")
    return MmedgeError(f"{folder} holds no weights in safetensors{other}", "convert it: model.save_pretrained(folder) of transformers writes them")
