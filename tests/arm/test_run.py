"""What `make test-arm` makes of its two results, and of a machine that lacks something. The emulation itself takes minutes: make test-arm."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from arm import run

from mmedge.errors import GateFailed, MmedgeError
from mmedge.manifest import Gate
from mmedge.turn import Marks, Seen, Turn

GATES = (
    Gate(name="graph eyes/image_encoder", passed=True, value=0.0036, bound=1.0),
    Gate(name="verb ears.transcribe #2", passed=True, value="Is there a cat?", bound="Is there a cat?"),
)
MINE = run.Result(GATES, Turn(heard="Is there a cat?", seen=[Seen(label="tabby", score=0.5)], said="Yes.", marks_ms=Marks()), "x86_64 3.11.7", 9.0)


def _with(gate):
    return replace(MINE, gates=(gate, *GATES[1:]))


def test_the_table_has_both_processors_beside_each_other():
    theirs = replace(_with(GATES[0].model_copy(update={"value": 0.25})), versions="aarch64 3.11.2", seconds=100.4)
    rows = [line.split("  ") for line in run.table(MINE, theirs).splitlines()[1:]]
    cells = [[cell.strip() for cell in row if cell] for row in rows]
    assert cells[0][1:] == ["x86_64 3.11.7", "aarch64 3.11.2"]
    assert cells[1] == ["graph eyes/image_encoder", "0.36%", "25.00%"]
    assert cells[2] == ["verb ears.transcribe #2", "as golden", "as golden"]
    assert cells[4] == ["turn: seen", "tabby 50.0%", "tabby 50.0%"]
    assert "100 s beside 9" in cells[-1][0] and "speed is not" in cells[-1][0]
    run.hold(MINE, theirs)


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        (_with(GATES[0].model_copy(update={"value": 2.0, "passed": False})), "graph eyes/image_encoder"),
        (_with(Gate(name="graph eyes/image_encoder", passed=True, note="not run")), "graph eyes/image_encoder"),
        (replace(MINE, gates=GATES[:1]), "the number of checks"),
        (replace(MINE, turn=MINE.turn.model_copy(update={"said": "No."})), "said"),
        (replace(MINE, turn=MINE.turn.model_copy(update={"seen": []})), "seen"),
    ],
)
def test_what_differs_fails_by_name(theirs, named):
    with pytest.raises(GateFailed, match=f"not the same on aarch64: {named}\n"):
        run.hold(MINE, theirs)


def test_without_apt_it_says_so_in_two_lines():
    done = subprocess.run([sys.executable, run.__file__], env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["error: make test-arm needs a checkout of mmedge, apt-get and dpkg", "fix: run it on Debian or Ubuntu"]


def test_a_program_that_fails_is_told_by_its_last_words(monkeypatch, tmp_path):
    failing = ("sh", "-c", "echo so far; echo 'E: Unable to fetch some archives' >&2; exit 100")
    with pytest.raises(MmedgeError, match=r"^error: sh: E: Unable to fetch some archives\nfix: see to the network"):
        run.said(*failing)
    monkeypatch.setattr(run, "KEYS", tmp_path / "keys.gpg")
    with pytest.raises(MmedgeError, match="fix: apt-get install debian-archive-keyring"):
        run.said(*failing)


def test_a_crash_of_the_emulated_program_is_no_failed_check():
    here = run.Machine("aarch64", (sys.executable,), {"MINE": "1"})
    assert here.run("-c", "import os; print(os.environ['MINE'])") == "1\n"
    assert here.run("-c", "raise SystemExit(3)", allowed=(0, 3)) == ""
    with pytest.raises(MmedgeError, match=r"^error: on aarch64, status -11: -c "):
        here.run("-c", "import os; os.kill(os.getpid(), 11)", allowed=(0, 3))


def test_a_bundle_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "HOME", tmp_path)
    with pytest.raises(MmedgeError, match=r"cannot be copied.*\nfix: name a bundle that is compiled for cpu: make test-arm BUNDLE=FOLDER"):
        run.examine(run.Machine("this machine", (sys.executable,), {}), tmp_path / "none.bundle")
