"""What ``mmedge check`` notices of changes that it was not written for: a table by what each does to answers on other data.

``python bench/fault_rates.py``. Exports three small checkpoints of tests/checkpoints, changes copies of them by seed, and writes
``bench/results/fault_rates.md``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import environment

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from checkpoints import discovered
from faults.mutations import ARCHITECTURES, NONE, SAME, SEED, Tried, table, tried

from mmedge.build.export import export
from mmedge.build.load import recipe_for
from mmedge.target import Target

FRESH = 7
RESULT = Path(__file__).parent / "results" / "fault_rates.md"
INTRODUCTION = [
    "# Changes that checks were not written for",
    "",
    "Bundles of three small checkpoints (an image-text encoder, a captioner, a speech recogniser), each changed in one place by seed, with the right",
    "checksums: weights, nodes, tokenizers, settings. What a change does is measured on pictures, sounds and texts that are in no golden data: other tokens,",
    "texts or labels, else the largest difference in an output, as a share of the larger of 1 and its largest number (plain: above 1e-2; slight: above 1e-3;",
    "faint: above 1e-4, which is rounding). *None is possible*: the file is written differently, and nothing else; to refuse one of those is a false alarm.",
    "",
]


def small(architecture: str, folder: Path) -> Path:
    """Its bundle for ``cpu``, checked."""
    out = folder / f"{architecture}.bundle"
    discovered()[architecture](folder / architecture)
    export(recipe_for(str(folder / architecture), offline=True, trace=lambda line: None), out, [Target.load("cpu")], report=lambda line: None)
    return out


def listed(found: Sequence[Tried]) -> list[str]:
    """What the table's rates are made of that one should know by name."""
    missed = [one for one in found if one.strength not in (NONE, SAME) and not one.noticed]
    refused = [one for one in found if one.strength in (NONE, SAME) and one.noticed]
    lines = ["", "Not noticed:", *(f"- {one.what}: {one.strength}, {one.change:.1g}" for one in missed)]
    return [*lines, "", "Refused, though the other data showed nothing:", *(f"- {one.what}" for one in refused)]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = {architecture: small(architecture, folder) for architecture in ARCHITECTURES}
        lines = [*INTRODUCTION]
        for seed, said in ((SEED, "golden texts were extended by what its first run missed"), (FRESH, "looked at only after that")):
            found = tried(bundles.__getitem__, folder, seed)
            lines += [f"### Seed {seed}: {said}", "", *table(found), *listed(found), ""]
    lines.append(environment.machine("mmedge", "onnxruntime", "numpy"))
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
