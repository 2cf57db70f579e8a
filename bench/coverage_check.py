"""The judge of the coverage comparison: it knows ONNX files and a reference, and nothing of who exported them.

``python bench/coverage_check.py EXPORT REFERENCE`` opens every ONNX file below EXPORT in onnxruntime and drives them with the inputs of REFERENCE
(see coverage_models.py). Prints one JSON object: ``good``, ``said`` (why not, or what is worth knowing).

Good: every file loads; there is something that reads the picture, the sound and the text; what generates takes and gives a cache; and the outputs are those of
transformers: embeddings and logits within 1e-3, or the same 20 tokens, greedily, for every input. Tensors are matched by name, else by rank and width.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from coverage_drive import Drive, Failed, Part, first_line

TOLERANCE = 1e-3


def components(parts: list[Part], facts: dict[str, Any]) -> str:
    """Raises Failed: something is missing. Returns what is worth knowing."""
    reading = {
        "image": ("pixel_values",),
        "audio": ("input_features", "input_values"),
        "text": ("input_ids",),
        "decoder": ("input_ids", "decoder_input_ids", "inputs_embeds"),
    }
    missing = [kind for kind, names in reading.items() if kind in facts["parts"] and not any(part.reads(names) for part in parts)]
    if missing:
        raise Failed(f"no graph reads the {' or the '.join(missing)}: there are only {', '.join(part.name for part in parts)}")
    if "cache" in facts["parts"] and not any(part.past and part.present for part in parts):
        raise Failed("no graph takes and gives a key/value cache")
    towers = [part for part in parts if part.reads(reading["image"] + reading["audio"])]
    return "both towers only together, in one graph" if facts["kind"] == "pair" and all(part.reads(("input_ids",)) for part in towers) else ""


def compare(drive: Drive, expected: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Raises Failed: an output is not the reference's."""
    if facts["kind"] == "generate":
        said = drive.generate(expected["tokens"].shape[1])
        wanted = expected["tokens"][0].tolist()
        if said != wanted:
            first = next(at for at, (got, want) in enumerate(zip(said, wanted)) if got != want)
            raise Failed(f"token {first + 1} of {len(wanted)} is {said[first]}, generate gives {wanted[first]}")
        return
    drive.encode()
    for name, wanted in expected.items():
        found = [array.astype(np.float64) for array in drive.made.values() if array.shape == wanted.shape]
        if facts["kind"] == "pair":
            found = [array / np.linalg.norm(array, axis=-1, keepdims=True) for array in found]
        away = min((float(np.abs(array - wanted).max()) for array in found), default=None)
        if away is None:
            shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in drive.made.items()) or "nothing: no graph could be run on its own"
            raise Failed(f"no output has the shape of {name} {list(wanted.shape)}; there is {shapes}"[:300])
        if not away <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise Failed(f"{name} is {away:.2g} away")


def judge(export: Path, reference: Path) -> dict[str, Any]:
    facts = json.loads((reference / "reference.json").read_text())
    files = sorted(path for path in export.rglob("*.onnx") if not any(part.startswith(".") for part in path.relative_to(export).parts))
    try:
        if not files:
            raise Failed("there is no ONNX file")
        parts = [Part(path, export) for path in files]
        note = components(parts, facts)
        with np.load(reference / "reference.npz", allow_pickle=False) as stored:
            for index in sorted({key.split("/")[0] for key in stored}):
                given, expected = ({key.split("/", 2)[2]: stored[key] for key in stored if key.startswith(f"{index}/{side}/")} for side in ("in", "out"))
                try:
                    compare(Drive(parts, given, facts), expected, facts)
                except Failed as error:
                    raise Failed(f"input {int(index) + 1}: {error}") from error
    except Failed as error:
        return {"good": False, "said": str(error)}
    except Exception as error:  # onnxruntime raises many kinds when a graph cannot be run
        return {"good": False, "said": first_line(error)}
    return {"good": True, "said": note}


if __name__ == "__main__":
    print(json.dumps(judge(Path(sys.argv[1]), Path(sys.argv[2]))))
