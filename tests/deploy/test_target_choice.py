"""Which target is taken where nobody names one: on boards that are trees of files, for bundles that were made for some of their targets."""

from __future__ import annotations

import json
import platform

import pytest
from system_tree import tree
from tampering import edit

import mmedge as package
from mmedge import target as under_test
from mmedge.target import Target, here, pick, targets

L4T = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"}
NANO = {**L4T, "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0"}
ALL = ("jetson-orin-nano", "jetson", "cpu")


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Let this machine be what the files say."""

    def on(files):
        root = tree(tmp_path / "system", files)
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
        found = here(root)
        monkeypatch.setattr(under_test, "here", lambda: found)
        return found

    return on


def test_a_board_is_several_targets_the_best_first(on):
    assert tuple(target.name for target in on(NANO)) == ALL
    assert tuple(target.name for target in on(L4T | {"proc/device-tree/model": "Somebody's own carrier\0"})) == ALL[1:]


@pytest.mark.parametrize(
    ("compiled", "taken", "anew"),
    [
        ((), "jetson-orin-nano", "jetson-orin-nano"),
        (("jetson",), "jetson", "jetson"),
        (("jetson", "jetson-orin-nano"), "jetson-orin-nano", "jetson-orin-nano"),
        (("cpu", "jetson"), "jetson", "jetson"),
        (("cpu",), "cpu", "jetson-orin-nano"),
        (("intel-cpu", "jetson-thor", "mine"), "jetson-orin-nano", "jetson-orin-nano"),
    ],
)
def test_what_a_bundle_was_made_for_comes_before_what_is_best(on, compiled, taken, anew):
    found = on(NANO)
    assert pick(found, compiled).name == taken
    assert pick(found, compiled, anew=True).name == anew


def test_the_list_of_targets_says_all_that_this_machine_is():
    made = targets()
    assert made.here[0] == made.best and "cpu" in made.here
    assert all(Target.load(name).is_here() for name in made.here)


@pytest.fixture
def for_jetson(toy_bundle):
    """As ``mmedge export --target jetson`` leaves it, but placed on the CPU, so that it runs here."""
    edit(toy_bundle, ("engines", "jetson"), json.loads((toy_bundle / "manifest.json").read_text())["engines"].pop("cpu"))
    edit(toy_bundle, ("engines",), {"jetson": json.loads((toy_bundle / "manifest.json").read_text())["engines"]["jetson"]})
    return toy_bundle


def gates(bundle):
    return {name for name in json.loads((bundle / "manifest.json").read_text())["gates"] if name.startswith("check ")}


def test_commands_take_it_and_say_so(on, for_jetson, mmedge):
    on(NANO)
    edit(for_jetson, ("gates",), {})
    status, _, said = mmedge("check", for_jetson)
    assert (status, gates(for_jetson)) == (0, {"check jetson"})
    assert said.splitlines()[0] == "target jetson: the bundle was made for it, and not for this machine's best, jetson-orin-nano"
    status, out, said = mmedge("check", for_jetson, "--bisect", "--json")
    assert (status, json.loads(out)["target"]) == (0, "jetson")
    what = mmedge("run", for_jetson, "--mic", "x.wav", "--camera", "none", "--speaker", "none")[2]
    assert what.splitlines()[0].startswith("target jetson: ")


def test_a_target_that_is_named_is_taken_without_a_word(on, for_jetson, refused, mmedge):
    on(NANO)
    assert refused("check", for_jetson, "--target", "cpu")[0] == f"{for_jetson} is not compiled for cpu"
    assert "target" not in mmedge("check", for_jetson, "--target", "jetson")[2]


def test_the_best_is_taken_without_a_word(on, for_jetson, mmedge):
    on(L4T)
    assert not mmedge("check", for_jetson)[2].startswith("target")


def test_from_python_too(on, for_jetson, monkeypatch):
    found = on(NANO)
    monkeypatch.setattr("mmedge.assistant.api.here", lambda: found)
    with package.open(for_jetson) as assistant:
        assert assistant._target.name == "jetson"
