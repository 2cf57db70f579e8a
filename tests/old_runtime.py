"""The onnxruntime that boards and older installations have, beside the one of this environment: its wheel is unpacked, and imported by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mmedge import hub

VERSION = "1.23.2"
MAX_OPSET = 23
"""What it reads."""

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, onnxruntime as ort
assert ort.__version__ == sys.argv[2], ort.__version__
settings = ort.SessionOptions()
settings.log_severity_level, settings.intra_op_num_threads = 4, 1
for line in sys.stdin:
    file, graphs = json.loads(line)
    said = {}
    with np.load(file, allow_pickle=False) as golden:
        for name, path in graphs.items():
            try:
                session = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
                feeds, wanted = ({key.removeprefix(f"graph/{name}/{side}/"): golden[key] for key in golden if key.startswith(f"graph/{name}/{side}/")}
                                 for side in ("in", "out"))
                got = dict(zip((output.name for output in session.get_outputs()), session.run(None, feeds)))
                said[name] = {key: [float(np.abs(got[key] - value).max(initial=0)), float(np.abs(value).max(initial=0))] for key, value in wanted.items()}
            except Exception as error:
                said[name] = str(error)
    print(json.dumps(said), flush=True)
"""


class OldRuntime:
    """The process: ``with OldRuntime() as runtime: runtime.refusals(graphs, golden)``."""

    def __enter__(self) -> OldRuntime:
        command = [sys.executable, "-c", SCRIPT, str(hub.fetch(f"pip:onnxruntime=={VERSION}", sha256=None)), VERSION]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def refusals(self, graphs: Mapping[str, Path], golden: Path) -> list[str]:
        """Load every graph and run it on its golden feeds. Returns what was refused or came out wrong; empty where all is well."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([str(golden), {name: str(path) for name, path in graphs.items()}]) + "\n")
        self._process.stdin.flush()
        wrong = []
        for name, said in json.loads(self._process.stdout.readline() or '{"the runtime": "it ended"}').items():
            if isinstance(said, str):
                wrong.append(f"{name}: {said}")
            else:
                wrong += [f"{name}: {output} is {away:.3g} away" for output, (away, most) in said.items() if not away <= 1e-4 * max(1.0, most)]
        return wrong
