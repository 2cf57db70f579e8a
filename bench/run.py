"""``make bench``: every comparison, one after another, and bench/README.md from what they found.

``python bench/run.py NAME ...`` runs only those; without a peer's package index or Debian's, a comparison that needs them fails and says so.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPARISONS = [
    "command_line",
    "image_tower",
    "loop_overhead",
    "speech_window",
    "speech",
    "questions",
    "coverage",
    "export_cost",
    "fp16",
    "fault_rates",
    "chat_speed",
    "cache_copy",
    "profile_truth",
    "profile_peers",
    "nvidia",
    "nvidia_modelopt",
    "quantize_makers",
    "quantize_peers",
    "distill_folds",
]
SEVERAL = {"distill_folds": "distill_*"}
"""Comparisons with several results."""
HEAD = """# Measured

Every table below was written by `make bench` (`python bench/run.py NAME` for one of them) and names the machine it ran on. Two things that
are compared are run in turn, A B A B, in one process or in two that wait for each other; a ratio's interval is a bootstrap over pairs. The machine is
shared: trust ratios, not milliseconds. A bar that was missed says so.
"""


def collate() -> str:
    """The text of bench/README.md from the results that there are."""
    parts = [HEAD]
    for name in COMPARISONS:
        for result in sorted((HERE / "results").glob(f"{SEVERAL.get(name, name)}.md")):
            parts.append(result.read_text(encoding="utf-8").strip().replace("\n# ", "\n## ").replace("# ", "## ", 1) + "\n")
    return "\n".join(parts)


def main(names: list[str]) -> int:
    failed = []
    for name in names or COMPARISONS:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, HERE / f"{name}.py"]).returncode != 0:
            failed.append(name)
    (HERE / "README.md").write_text(collate(), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
