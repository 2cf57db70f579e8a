"""A program that stands in for ``trtexec``: it takes the flags that each TensorRT is known to take, refuses the others, and goes wrong on demand."""

from __future__ import annotations

import json
import stat
import sys

from backends.tensorrt.test_inspector import layer

HALF = [layer("g", "gemm", ["Half"], ["Half"])]
PROGRAM = f"""#!{sys.executable} -IS
import json, os, pathlib, signal, sys, time
how = json.loads(pathlib.Path({{how!r}}).read_text())
arguments = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
with open(how["asked"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
print("&&&& RUNNING TensorRT.trtexec " + how["banner"] + " # " + " ".join(sys.argv))
if "--help" in arguments:
    sys.exit(0)
def failed(words):
    print("[06/20/2025-12:02:57] [E] " + words)
    print("[06/20/2025-12:02:57] [E] Engine set up failed")
    print("&&&& FAILED TensorRT.trtexec " + how["banner"])
    sys.exit(1)
known = "--onnx --minShapes --optShapes --maxShapes --memPoolSize --noTF32 --profilingVerbosity".split()
for flag in arguments:
    if flag not in [*known, "--timingCacheFile", "--exportLayerInfo", "--skipInference", "--saveEngine", *how["takes"]]:
        failed("Unknown option: " + flag)
if "--stronglyTyped" in arguments and set(arguments) & {{"--fp16", "--int8", "--bf16"}}:
    failed("Precision flags cannot be used with a strongly typed network")
if not pathlib.Path(arguments["--onnx"]).is_file():
    failed("Failed to open file: " + arguments["--onnx"])
how["refuses"] and how["refuses"] in arguments and failed("Could not find any implementation for node Conv_0.")
pathlib.Path(arguments["--timingCacheFile"]).open("ab").write(b"+")
pathlib.Path(arguments["--saveEngine"]).write_bytes(b"half of an en")
if how["end"] == "hangs":
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(how["asked"] + ".pids").write_text(f"{{os.getpid()}} {{child.pid}}")
    how["deaf"] and signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if how["end"] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how["end"] == "writes nothing":
    os.unlink(arguments["--saveEngine"])
else:
    pathlib.Path(arguments["--saveEngine"]).write_bytes(b"an engine")
    if how["layers"] is not None:
        pathlib.Path(arguments["--exportLayerInfo"]).write_text(json.dumps({{"Layers": how["layers"], "Bindings": []}}))
print("&&&& PASSED TensorRT.trtexec " + how["banner"])
""".replace("{{", "{").replace("}}", "}")


class Program:
    """The stand-in for ``trtexec``, and what it was asked."""

    def __init__(self, folder, monkeypatch):
        self.path, self._how, self._asked = folder / "trtexec", folder / "how.json", folder / "asked"
        self.path.write_text(PROGRAM.replace("{how!r}", repr(str(self._how))))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("TRTEXEC", str(self.path))
        self.behaves()

    def behaves(self, *, banner="[TensorRT v100300]", takes=("--stronglyTyped", "--fp16", "--int8"), refuses="", end="", layers=HALF, deaf=False):
        how = {"banner": banner, "takes": takes, "refuses": refuses, "end": end, "layers": layers, "deaf": deaf, "asked": str(self._asked)}
        self._how.write_text(json.dumps(how))

    def asked(self):
        """The arguments of every build."""
        lines = [json.loads(line) for line in self._asked.read_text().splitlines()] if self._asked.exists() else []
        return [line for line in lines if line != ["--help"]]

    def pids(self):
        """Of the program that hangs and of what it has started; none where it has not come to that yet."""
        path = self._asked.with_name("asked.pids")
        found = [*map(int, path.read_text().split())] if path.exists() else []
        return found if len(found) == 2 else []
