"""What every tool that quantizes graphs shares in its own environment: ``quantize_with_TOOL.py SETTING GRAPH.onnx FEEDS OUT``.

FEEDS: a folder of .npz files, each the inputs of one run of the graph by their names. Writes OUT/model.onnx or OUT/model.xml, and answers a line of JSON:
{"file", "seconds", "note"}. The graph is whole, and without the shapes that its exporter noted between operators: some tools stop at them.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

BEGIN = time.perf_counter()
SETTING, GRAPH, FEEDS, OUT = sys.argv[1], sys.argv[2], sorted(Path(sys.argv[3]).glob("*.npz")), Path(sys.argv[4])
NOTES = []


def feeds():
    for path in FEEDS:
        with np.load(path) as stored:
            yield dict(stored.items())


def answer(ways):
    """Do what was asked for. What the tools print is no answer."""
    told, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    ways[SETTING]()
    file = next(name for name in ("model.xml", "model.onnx") if (OUT / name).is_file())
    told.write(json.dumps({"file": file, "seconds": time.perf_counter() - BEGIN, "note": "; ".join(NOTES)}) + "\n")
