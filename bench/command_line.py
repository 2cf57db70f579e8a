"""What the command line costs before it does anything: ``mmedge --help`` and ``import mmedge``, against a bare Python.

``python bench/command_line.py``. Whole processes, in turn. Writes ``bench/results/command_line.md``. Exit status 3 when the bar is missed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import environment
import numpy as np

ROUNDS = 15
BAR_S = 0.4
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import mmedge'": [sys.executable, "-c", "import mmedge"],
    "mmedge --help": [str(Path(sys.executable).with_name("mmedge")), "--help"],
}


def main() -> int:
    spent_s: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            spent_s[name].append(time.perf_counter() - begin)
    lines = [
        "# The command line",
        "",
        f"Seconds of a whole process, {ROUNDS} rounds in turn after one that does not count. Bar: `mmedge --help` under {BAR_S} s.",
        "",
    ]
    lines += ["| | median | least | most |", "|---|---|---|---|"]
    for name, samples in spent_s.items():
        counted = samples[1:]
        lines.append(f"| `{name}` | {np.median(counted):.3f} | {min(counted):.3f} | {max(counted):.3f} |")
    kept = float(np.median(spent_s["mmedge --help"][1:])) < BAR_S
    lines += ["", f"Bar {'kept' if kept else 'missed'}.", "", environment.machine("typer") + "."]
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    (results / "command_line.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if kept else 3


if __name__ == "__main__":
    sys.exit(main())
