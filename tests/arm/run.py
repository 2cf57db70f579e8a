"""``make test-arm``: the device half on aarch64, on a machine without such a processor. Every instruction is emulated by QEMU, which takes
about 17 minutes of one core: it tells whether the answers are right there, never how fast.

Runs ``mmedge check`` and one replayed turn of the shipped assistant on target ``cpu``, on this machine and under QEMU, and prints both beside
each other. CPython 3.11 and QEMU 10 come from Debian's archive, verified by its keys and unpacked into ``.venv/arm`` (no root, nothing is
installed); the packages of the device half are aarch64 wheels of the same versions as here. ``BUNDLE=FOLDER`` takes that bundle instead of exporting one.

Exit status as mmedge's: 0 the same, 2 something is missing here, 3 something differs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.errors import DONE, GATE, GateFailed, MmedgeError
from mmedge.manifest import Gate
from mmedge.turn import Turn

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv" / "arm"
DEBIAN, SUITE, KEYS = "http://deb.debian.org/debian", "bookworm", Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PYTHON = "python3.11"
"""The only one of Debian 12. JetPack 6 has 3.10 (held to by a static check), JetPack 7 has 3.12."""
PACKAGES = [
    *(f"{PYTHON}-minimal", f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "libc6", "libstdc++6", "libgcc-s1", "libssl3", "libffi8", "libexpat1", "zlib1g"),
    *("libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1"),
]
NEWER = "bookworm-backports"
"""Where QEMU comes from: 7.2, Debian 12's own, crashes when onnxruntime 1.31 is imported; 10.0 does not."""
PROCESSOR = "cortex-a76"
"""The nearest that QEMU 10.0 knows to Orin's Cortex-A78AE: ARMv8.2 with half precision and dot products, without SVE."""
QUESTION, PICTURE = ROOT / "mmedge" / "golden" / "question.wav", ROOT / "mmedge" / "golden" / "cat.jpg"


@dataclass(frozen=True)
class Machine:
    """A Python on one of the two processors."""

    name: str
    python: tuple[str | Path, ...]
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path, allowed: Sequence[int] = (DONE,)) -> str:
        """What ``python ARGUMENTS`` prints. Its progress goes to stderr as it comes."""
        command = [*map(str, self.python), *map(str, arguments)]
        done = subprocess.run(command, env={**os.environ, **self.environment}, stdout=subprocess.PIPE, text=True)
        if done.returncode not in allowed:
            raise MmedgeError(f"on {self.name}, status {done.returncode}: {' '.join(map(str, arguments))}", "its own words are above; try it by hand")
        return done.stdout


@dataclass(frozen=True)
class Result:
    gates: tuple[Gate, ...]
    turn: Turn
    versions: str
    seconds: float


def main() -> int:
    if not QUESTION.exists() or not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise MmedgeError("make test-arm needs a checkout of mmedge, apt-get and dpkg", "run it on Debian or Ubuntu")
    HOME.mkdir(parents=True, exist_ok=True)
    here = Machine("this machine", (sys.executable,), {})
    there = emulated()
    bundle = Path(os.environ.get("BUNDLE") or HOME / "assistant-mini.bundle")
    if not os.environ.get("BUNDLE"):
        here.run("-m", "mmedge", "export", "--target", "cpu", "--out", bundle)
    mine, theirs = examine(here, bundle), examine(there, bundle)
    print(table(mine, theirs))
    hold(mine, theirs)
    return DONE


def emulated() -> Machine:
    """QEMU with an arm64 Python and the device half's packages; what is there already is kept."""
    system = HOME / "system"
    qemu, python = system / "usr/bin/qemu-aarch64", system / "usr/bin" / PYTHON
    if not (qemu.exists() and python.exists()):
        shutil.rmtree(system, ignore_errors=True)
        debian(system)
    environment = {"PYTHONPATH": f"{ROOT}:{wheels()}", "PYTHONNOUSERSITE": "1", "MMEDGE_OFFLINE": "1"}
    return Machine("aarch64", (qemu, "-cpu", PROCESSOR, "-L", system, python), environment)


def debian(out: Path) -> None:
    """Unpack QEMU for this machine and Python for arm64 from Debian's archive, whatever release of Debian or Ubuntu this is."""
    apt, mine = HOME / "apt", said("dpkg", "--print-architecture").strip()
    for folder in ("debs", "state/lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text("".join(f"deb [signed-by={KEYS}] {DEBIAN} {suite} main\n" for suite in (SUITE, NEWER)))
    options = ["APT::Architecture=arm64", f"APT::Architectures=arm64,{mine}", "APT::Sandbox::User=root", f"Dir::State={apt}/state", f"Dir::Cache={apt}/cache"]
    options += ["Dir::State::status=/dev/null", f"Dir::Etc::SourceList={apt}/sources.list", "Dir::Etc::SourceParts=/dev/null"]
    get = ["apt-get", "-qq", *(f"-o{option}" for option in options)]
    said(*get, "update")
    said(*get, "download", f"qemu-user:{mine}/{NEWER}", *PACKAGES, folder=apt / "debs")
    fresh = out.with_name("system.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for package in sorted((apt / "debs").glob("*.deb")):
        said("dpkg", "-x", str(package), str(fresh))
    shutil.rmtree(apt)
    for other in set((fresh / "usr/bin").glob("qemu-*")) - {fresh / "usr/bin/qemu-aarch64"}:
        other.unlink()  # 14 MB each
    fresh.rename(out)


def wheels() -> Path:
    """The folder with what ``pip install mmedge`` brings to a board, and piper-tts for the voice, in the versions of constraints.txt."""
    constraints = ROOT / "constraints.txt"
    wanted = [*(text for text in metadata.requires("mmedge") or [] if "extra ==" not in text), "piper-tts"]
    out = HOME / f"packages-{hashlib.sha256((constraints.read_text() + str(wanted)).encode()).hexdigest()[:8]}"
    if out.exists():
        return out
    platforms = [f"--platform=manylinux_{version}_aarch64" for version in ("2_28", "2_27", "2_26", "2_17")] + ["--platform=manylinux2014_aarch64"]
    options = ["--quiet", "--no-compile", "--only-binary=:all:", f"--python-version={PYTHON.removeprefix('python')}", "--implementation=cp", *platforms]
    for old in HOME.glob("packages-*"):
        shutil.rmtree(old)
    fresh = HOME / "packages-new"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    said(*pip, *options, f"--constraint={constraints}", f"--target={fresh}", *wanted)
    return fresh.rename(out)


def said(*command: str, folder: Path = ROOT) -> str:
    """What a program prints. Raises MmedgeError with its last words."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "without a word").splitlines()[-1]
        fix = "apt-get install debian-archive-keyring" if not KEYS.exists() else f"see to the network or the disk, then again; by hand: {' '.join(command)}"
        raise MmedgeError(f"{command[0]}: {words}", fix)
    return done.stdout


def examine(machine: Machine, bundle: Path) -> Result:
    """Check a copy of the bundle, since that writes into it, and play one question to it."""
    copy, answer = HOME / "copy.bundle", HOME / "answer.wav"
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(bundle, copy)
    except OSError as error:
        raise MmedgeError(f"{bundle} cannot be copied to {copy}: {error}", "name a bundle that is compiled for cpu: make test-arm BUNDLE=FOLDER") from error
    print(f"on {machine.name}: mmedge check, then a turn", file=sys.stderr, flush=True)
    began = time.monotonic()
    versions = machine.run("-c", "import platform as p, numpy, onnxruntime as o; print(p.machine(), p.python_version(), o.__version__, numpy.__version__)")
    machine.run("-m", "mmedge", "check", copy, "--target", "cpu", allowed=(DONE, GATE))
    asked = ["--mic", QUESTION, "--camera", PICTURE, "--speaker", answer, "--json"]
    turns = machine.run("-m", "mmedge", "run", copy, "--target", "cpu", *asked).splitlines()[:-1]
    if len(turns) != 1:
        raise MmedgeError(f"on {machine.name} the question made {len(turns)} turns", "see its own words above")
    gates = Bundle.open(copy).manifest.gates["check cpu"]
    shutil.rmtree(copy)
    return Result(gates, Turn.model_validate_json(turns[0]), versions.strip(), time.monotonic() - began)


def table(mine: Result, theirs: Result) -> str:
    """Every check on both processors: a difference from golden as a share of its bound, else whether it is what golden says."""
    names = ["Python, onnxruntime, numpy", *(gate.name for gate in mine.gates), "turn: heard", "turn: seen", "turn: said"]
    cells = [[one.versions, *map(cell, one.gates), *told(one.turn)] for one in (mine, theirs)]
    wide, first = max(map(len, names)), max(map(len, cells[0]))
    rows = [f"{name:{wide}}  {left:{first}}  {right}" for name, left, right in zip(names, *cells)]
    title = "difference from golden, as a share of its bound, on this machine and on aarch64"
    emulated = f"emulated by QEMU as a {PROCESSOR}, {theirs.seconds:.0f} s beside {mine.seconds:.0f}: the answers are tested, speed is not"
    return "\n".join([title, *rows, emulated])


def cell(gate: Gate) -> str:
    if isinstance(gate.value, float) and isinstance(gate.bound, float) and gate.bound:
        return f"{gate.value / gate.bound:.2%}"
    return "not run" if gate.value is None else "as golden" if gate.passed else f"differs: {gate.value}"


def told(turn: Turn) -> tuple[str, str, str]:
    return turn.heard, ", ".join(f"{seen.label} {seen.score:.1%}" for seen in turn.seen[:2]), turn.said


def hold(mine: Result, theirs: Result) -> None:
    """Raises GateFailed: a check failed under QEMU or was passed over there alone, or the turn is another one."""
    differing = [gate.name for gate, other in zip(theirs.gates, mine.gates) if not gate.passed or (gate.value is None) != (other.value is None)]
    differing += [name for name, one, other in zip(("heard", "seen", "said"), told(mine.turn), told(theirs.turn)) if one != other]
    if len(mine.gates) != len(theirs.gates) or differing:
        raise GateFailed(f"not the same on aarch64: {', '.join(differing) or 'the number of checks'}", "see the table")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MmedgeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)
