"""Each target in a process of its own. The process is a script of ours: what is tested is what is made of what it says and how it ends."""

from __future__ import annotations

import json
import sys
import time

import psutil
import pytest
from made import made_report

from mmedge import catalog
from mmedge.bundle import MANIFEST
from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.profile import targets
from mmedge.profile.report import Rules
from mmedge.profile.targets import profile_each, several

SCRIPT = """#!{python}
import json, pathlib, signal, sys, time
folder, (bundle, *options) = pathlib.Path({folder!r}), sys.argv[4:]
target = options[options.index("--target") + 1]
(folder / "asked").open("a").write(json.dumps(sys.argv[1:]) + "\\n")
print("measuring", file=sys.stderr, flush=True)
behaviour = (folder / target).read_text()
def stopped(number, frame):
    (folder / "stopped").write_text("")
    sys.exit(130)
if behaviour in ("wait", "stubborn"):
    signal.signal(signal.SIGTERM, stopped if behaviour == "wait" else signal.SIG_IGN)
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
print(behaviour.replace("STATUS 2", ""))
if "STATUS 2" in behaviour:
    print("error: as in the document\\nfix: as well", file=sys.stderr)
sys.exit(2 if "STATUS 2" in behaviour else 1 if "CRASH" in behaviour else 0)
"""
FAILED = json.dumps({"schema": "mmedge.error/1", "status": 2, "error": "the runtime is not installed", "fix": "pip install it"}) + "STATUS 2"


@pytest.fixture
def asked(toy_bundle, tmp_path, monkeypatch):
    """Profile the toy, compiled for the targets that have a behaviour; returns (the profiles, what was said, the command lines)."""
    folder = tmp_path / "processes"
    folder.mkdir()
    script = folder / "python"
    script.write_text(SCRIPT.format(python=sys.executable, folder=str(folder)))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))

    def asked(names, *, rules=Rules(), progress=None, **behaviours):  # noqa: B008
        manifest = json.loads((toy_bundle / MANIFEST).read_text())
        for target, behaviour in behaviours.items():
            manifest["engines"][target.replace("_", "-")] = manifest["engines"]["cpu"]
            (folder / target.replace("_", "-")).write_text(behaviour)
        if "cpu" not in behaviours:
            del manifest["engines"]["cpu"]
        (toy_bundle / MANIFEST).write_text(json.dumps(manifest))
        said: list[str] = []
        made = profile_each(toy_bundle, names, rules, progress or said.append)
        return made, said, [json.loads(line) for line in (folder / "asked").read_text().splitlines()]

    asked.folder, asked.bundle = folder, toy_bundle
    return asked


def report(target):
    return dump_json(made_report(target, calls=8))


def test_each_target_has_a_process_of_its_own(asked):
    rules = Rules(mode="paced", rate_hz=12.5, arrivals="poisson", seconds=0.25)
    made, said, commands = asked(["cpu", "intel-cpu", "cpu"], rules=rules, cpu=report("cpu"), intel_cpu=report("intel-cpu"))
    assert [one.target for one in made.reports] == ["cpu", "intel-cpu"]
    assert said == ["cpu: measuring", "intel-cpu: measuring"]
    common = ["--mode", "paced", "--seconds", "0.25", "--rate", "poisson:12.5", "--json"]
    assert commands == [["-m", "mmedge", "profile", str(asked.bundle), "--target", target, *common] for target in ("cpu", "intel-cpu")]


def test_all_are_those_that_the_bundle_is_compiled_for(asked):
    made, _, commands = asked(["all"], cpu=report("cpu"), null=report("null"), my_board="")
    assert [one.target for one in made.reports] == ["cpu", "null"]
    assert len(commands) == 2
    lacking = [name for name in catalog.names("targets") if name not in ("cpu", "null")]
    assert made.not_run[0] == f"not compiled for {', '.join(lacking)}"
    assert made.not_run[1].startswith("my-board: ") and "--target my-board.toml" in made.not_run[1]


def test_a_target_that_cannot_run_here_is_listed_with_its_reason(asked):
    made, said, _ = asked(["cpu", "intel-cpu"], cpu=FAILED, intel_cpu=report("intel-cpu"))
    assert made.not_run == ("cpu: the runtime is not installed (pip install it)",)
    assert not any("error: " in line for line in said)


@pytest.mark.parametrize(("behaviour", "what"), [("CRASH", "ended with status 1"), ("", "is empty"), ('{"schema": ', "cannot be read as JSON")])
def test_a_process_that_ends_badly_costs_its_own_target_only(asked, behaviour, what):
    made, _, _ = asked(["cpu", "intel-cpu"], cpu=behaviour, intel_cpu=report("intel-cpu"))
    assert [one.target for one in made.reports] == ["intel-cpu"]
    assert what in made.not_run[0] and made.not_run[0].startswith("cpu: ")


def test_nothing_that_runs_is_an_error(asked):
    with pytest.raises(MmedgeError, match="nothing could be measured: the runtime is not installed, nor on another target") as error:
        asked(["cpu", "intel-cpu"], cpu=FAILED, intel_cpu=FAILED)
    assert error.value.fix == "pip install it"
    with pytest.raises(MmedgeError, match="is not compiled for jetson"):  # it was named: nothing is measured without it
        asked(["cpu", "jetson"], cpu=report("cpu"))
    with pytest.raises(MmedgeError, match="there is no target 'cpuu'"):
        asked(["cpu", "cpuu"], cpu=report("cpu"))


@pytest.mark.parametrize("behaviour", ["wait", "stubborn"])
def test_an_interruption_stops_the_process_too(asked, monkeypatch, behaviour):
    monkeypatch.setattr(targets, "GRACE_S", 0.3 if behaviour == "stubborn" else 20)

    def interrupt(line):
        if line == "cpu: ready":
            raise KeyboardInterrupt

    before, began = set(psutil.Process().children()), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asked(["cpu", "intel-cpu"], cpu=behaviour, intel_cpu=report("intel-cpu"), progress=interrupt)
    assert (asked.folder / "stopped").exists() == (behaviour == "wait")
    assert time.monotonic() - began < 30  # of the process's sixty
    assert len((asked.folder / "asked").read_text().splitlines()) == 1
    assert set(psutil.Process().children()) <= before  # others' tests may have servers running


@pytest.mark.parametrize(("names", "more"), [(["cpu"], False), (["cpu", "cpu"], False), (["all"], True), (["cpu", "null"], True)])
def test_what_counts_as_several(names, more):
    assert several(names) == more
