"""The verb on the toy: what the bundle holds afterwards, what a failure leaves, and that nothing is done twice. Candidates in 8 bits are made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import wraps
from types import SimpleNamespace

import pytest
from evaluate.data_sets import colours
from quantized_toy import CPU, KEY, ROLE, rounded
from tampering import state

from mmedge.bundle import Bundle, sha256_of
from mmedge.deploy.check import check
from mmedge.deploy.inspect import summary
from mmedge.errors import MmedgeError
from mmedge.evaluate.data import open_data
from mmedge.families.toy.session import Session
from mmedge.optimize import judging, stored, timing
from mmedge.optimize import quantize as module
from mmedge.optimize.made import Made
from mmedge.optimize.quantize import Asked, Wanted, quantize, quantize_all
from mmedge.optimize.quantized import Quantization, table
from mmedge.optimize.survivors import Sifted, Survivor
from mmedge.profile.page.quantized import QuantizedView
from mmedge.rated import Budget, Interval, Rated
from mmedge.runner import Candidate
from mmedge.target import Target

PLAIN = Wanted()
SHARES = {"ort fp32": 1.0, "ort quick": 0.4, "ort small": 0.7}
FACTORS = {"ort quick": 0.9, "ort small": 0.8}


@pytest.fixture
def world(monkeypatch, toy_bundle, tmp_path):
    """The toy with two candidates in 8 bits that hold and one that does not, on a machine that takes as long as they say. ``asked``: how often it was."""
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    asked = {"classify": 0, "timed": 0, "grown": 0}

    def survivors(work, key, names=tuple(SHARES)):
        graph = work.bundle.graph(work.role, key)
        found = []
        for name in names:
            made, candidate = None, Candidate(graph, "fp32")
            if name in FACTORS:
                file = rounded(tmp_path, graph.inputs[0].shape[2], FACTORS[name])
                made = Made(file, None, "int8", name.partition(" ")[2], (), 1, 0.1)
                candidate = Candidate(replace(graph, path=file, sha256=sha256_of(file), precision="int8"), "int8")
            chosen = {key: ("ort", candidate)}
            judged, metric = judging.judged(work, chosen), judging.interval(judging.metric(work, chosen))
            rated = Rated(name=name, backend="ort", precision=candidate.precision, passed=True, metric=metric, loss=judging.loss(judged), size_mb=1.0)
            found.append(Survivor(rated, "ort", candidate, made))
        return Sifted(tuple(found), (Rated(name="ort dynamic", backend="ort", precision="int8", passed=False, note="40 points lost"),))

    def timed(base, one, bench):
        asked["timed"] += 1
        share = SHARES[one.rated.name]
        return timing.Timed(ratio=Interval(value=share, low=share, high=share, n=11), base_ms=2.0)

    def memory_mb(*unused):
        asked["grown"] += 1
        return 3.0

    @wraps(original := Session.classify)
    def classify(*arguments, **more):
        asked["classify"] += 1
        return original(*arguments, **more)

    monkeypatch.setattr(module, "survivors", survivors)
    monkeypatch.setattr(timing, "_time", timed)
    monkeypatch.setattr(timing, "memory_mb", memory_mb)
    monkeypatch.setattr(Session, "classify", classify)
    data = open_data(colours(tmp_path / "pictures"))

    def run(wanted=PLAIN, target=CPU, **more):
        return quantize(toy_bundle, target, data, Asked(**more), wanted, lambda line: None)

    return SimpleNamespace(run=run, path=toy_bundle, asked=asked, data=data, survivors=survivors)


def manifest(world):
    return Bundle.open(world.path).manifest


def test_the_bundle_holds_what_was_found(world):
    made = world.run()
    held = manifest(world)
    found, placed = held.quantized["cpu"][ROLE], held.engines["cpu"][f"{ROLE}/{KEY}"]
    assert [(one.name, one.passed, one.pareto) for one in found.graphs[KEY].rated] == [
        ("ort quick", True, True),
        ("ort small", True, False),
        ("ort fp32", True, False),
        ("ort dynamic", False, False),
    ]
    assert (placed.backend, placed.precision, placed.reason) == ("ort", "int8", found.graphs[KEY].why)
    assert placed.key["features"].split() == list(found.graphs[KEY].rated[0].features)
    variants = {one.name: one for one in held.models[ROLE].graphs[KEY].variants}
    assert variants["ort quick"].file.sha256 == placed.made_of == found.graphs[KEY].of("ort quick").made_of
    assert all(one.outputs for one in variants.values()) and set(variants) == set(FACTORS)
    assert (found.task, found.metric, found.data, found.samples, found.goal) == ("classification", "accuracy", "pictures", 9, "latency")
    assert [(gate.name, gate.passed) for gate in held.gates["quantize cpu"]] == [("quantize eyes", True)]
    assert made.models[ROLE] == found.model_copy(update={"golden": None, "cases": ()})
    assert Bundle.open(world.path).orphans() == []


def test_it_passes_its_check_and_answers(world):
    """Which holds it to its own outputs: fp32's are a tenth away."""
    world.run()
    made = check(world.path, CPU, lambda line: None).manifest
    assert all(gate.passed for gate in made.gates["check cpu"])
    with Bundle.open(world.path).session(ROLE, CPU) as eyes:
        label, share = eyes.classify(world.path / made.media["cat"].path, ["blue", "brown"])[0]
    assert label == "brown" and share > 0.5


def test_a_second_run_does_nothing_again(world):
    first = world.run()
    before, asked = manifest(world), dict(world.asked)
    assert world.run() == first
    assert (world.asked, manifest(world)) == (asked, before)
    assert Bundle.open(world.path).orphans() == []


def test_another_goal_or_budget_times_and_judges_nothing_again(world):
    world.run()
    asked = dict(world.asked)
    assert world.run(Wanted("size", Budget(max_latency_ms=1.5))).models[ROLE].goal == "size"
    assert {name: world.asked[name] for name in ("timed", "grown")} == {name: asked[name] for name in ("timed", "grown")}
    assert world.asked["classify"] == asked["classify"]


def test_slim_keeps_what_was_chosen_alone(world):
    world.run()
    world.run(Wanted(slim=True))
    held = manifest(world)
    assert [one.name for one in held.models[ROLE].graphs[KEY].variants] == ["ort quick"]
    assert {one.name for one in held.quantized["cpu"][ROLE].graphs[KEY].rated if one.left_out} == {"ort small"}
    flags = tuple({flag for one in held.quantized["cpu"][ROLE].graphs[KEY].rated for flag in one.features})
    assert [one.name for one in held.quantized["cpu"][ROLE].graphs[KEY].valid(flags)] == ["ort quick", "ort fp32"]


def test_two_targets_keep_what_each_needs(world, monkeypatch):
    other = CPU.model_copy(update={"name": "other"})
    with Bundle.writing(world.path) as bundle:
        bundle.manifest = bundle.manifest.model_copy(update={"engines": {**bundle.manifest.engines, "other": bundle.manifest.engines["cpu"]}})
        bundle.commit()
    world.run()
    monkeypatch.setattr(module, "survivors", lambda work, key: world.survivors(work, key, ("ort fp32", "ort small")))
    world.run(target=other)
    assert {one.name for one in manifest(world).models[ROLE].graphs[KEY].variants} == set(FACTORS)
    world.run()
    assert {one.name for one in manifest(world).models[ROLE].graphs[KEY].variants} == {"ort small"}
    assert set(manifest(world).quantized) == {"cpu", "other"}


def test_nothing_but_fp32_is_no_failure(world, monkeypatch):
    monkeypatch.setattr(module, "survivors", lambda work, key: world.survivors(work, key, ("ort fp32",)))
    made = world.run()
    assert (made.models[ROLE].graphs[KEY].chosen, made.models[ROLE].graphs[KEY].why) == ("ort fp32", "no other that holds is surely faster")
    assert manifest(world).engines["cpu"][f"{ROLE}/{KEY}"].precision == "fp32"


@pytest.mark.parametrize("step", ["_variant", "record", "_pruned"])
def test_a_step_that_fails_leaves_the_bundle_as_it_was(step, world, monkeypatch):
    before, files = state(world.path), set(world.path.rglob("*"))

    def full(*unused):
        raise MmedgeError("no space left", "free some")

    monkeypatch.setattr(stored, step, full)
    with pytest.raises(MmedgeError, match="no space left"):
        world.run()
    assert (state(world.path), set(world.path.rglob("*"))) == (before, files)


def test_a_budget_that_nothing_keeps_is_refused_and_names_the_graph(world):
    before = state(world.path)
    with pytest.raises(MmedgeError, match=r"eyes/image_encoder: no candidate keeps the budget: ort quick 0\.8 ms a run of at most 0\.5") as caught:
        world.run(Wanted(budget=Budget(max_latency_ms=0.5)))
    assert (caught.value.status, "ort quick" in caught.value.fix) == (2, True)
    assert state(world.path) == before


def test_megabytes_are_the_models(world):
    assert world.run(Wanted(budget=Budget(max_mb=1))).models[ROLE].graphs[KEY].chosen == "ort quick"
    before = state(world.path)
    with pytest.raises(MmedgeError, match=r"of eyes take at most 0\.9 MB together: the smallest take 1\.0 MB \(image_encoder ort quick 1\.0\)") as caught:
        world.run(Wanted(budget=Budget(max_mb=0.9)))
    assert (caught.value.status, caught.value.fix) == (2, "raise the limit: --max-mb 1")
    assert state(world.path) == before


def test_nothing_of_a_choice_that_was_replaced_is_left(world, monkeypatch):
    world.run()
    monkeypatch.setattr(module, "survivors", lambda work, key: world.survivors(work, key, ("ort fp32", "ort small")))
    world.run()
    assert manifest(world).quantized["cpu"][ROLE].graphs[KEY].chosen == "ort small"
    assert Bundle.open(world.path).orphans() == []
    (world.path / "own.txt").write_text("not the bundle's")
    world.run(Wanted(slim=True))
    assert [path.name for path in Bundle.open(world.path).orphans()] == ["own.txt"]


def test_a_target_that_it_was_not_compiled_for(world):
    with pytest.raises(MmedgeError, match="is not compiled for intel-cpu") as caught:
        world.run(target=Target.load("intel-cpu"))
    assert caught.value.fix.startswith("mmedge compile")


def test_for_a_board_that_is_elsewhere_variants_ship_and_nothing_is_chosen(world):
    """The placements stay, and so does what a budget would have to be measured for."""
    board = CPU.model_copy(update={"name": "board", "build_on": "device", "detect": Target.load("jetson").detect})
    with Bundle.writing(world.path) as bundle:
        bundle.manifest = bundle.manifest.model_copy(update={"engines": {"board": bundle.manifest.engines["cpu"]}})
        bundle.commit()
    before = manifest(world).engines
    found = world.run(target=board).models[ROLE].graphs[KEY]
    assert (found.chosen, world.asked["timed"], manifest(world).engines) == ("ort fp32", 0, before)
    assert "--target board --rechoose" in found.why
    assert {one.name for one in manifest(world).models[ROLE].graphs[KEY].variants} == set(FACTORS)
    with pytest.raises(MmedgeError, match="so no budget can be kept"):
        world.run(Wanted(budget=Budget(max_mb=2)), target=board)
    with pytest.raises(MmedgeError, match="so nothing else can be left out"):
        world.run(Wanted(slim=True), target=board)


def test_all_roles_that_the_data_judge(world):
    made = quantize_all(world.path, CPU, world.data, lambda line: None)
    assert (set(made.models), made.untouched) == ({ROLE}, {})
    assert manifest(world).quantized["cpu"][ROLE].graphs[KEY].chosen == "ort quick"


def test_the_table_says_what_there_is_to_know(world, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    said = table(world.run())
    assert said.splitlines()[0].startswith("eyes on cpu: classification on pictures, 9 units; accuracy of fp32 is 1.000")
    row = next(line for line in said.splitlines() if line.startswith(">* ort quick "))
    assert row.split()[-3:] == ["0.8", "1.0", "3"]
    assert "ort dynamic is out: 40 points lost" in said
    assert "ranges are measured on 9 samples that are judged, too: " in said
    assert "> ort quick: the fastest that holds: 0.40 times ort fp32 (0.40 to 0.40), 1.0 of 1.0 MB, undecided by 9 units" in " ".join(said.split())
    assert "eyes as a whole: accuracy 1.000" in said
    assert max(map(len, said.splitlines())) <= 100


def test_what_too_few_samples_leave_undecided_is_said_wherever_it_is_shown(world):
    made = world.run()
    said = table(made)
    assert " open " in next(line for line in said.splitlines() if line.startswith(">* ort quick"))
    assert "1 allowed: open; " in said and "open: the loss is within what is allowed, its interval is not" in said
    found = json.loads(made.model_dump_json())["models"][ROLE]
    assert {found["loss"]["word"], found["graphs"][KEY]["rated"][0]["loss"]["word"]} == {"undecided"}
    assert "1 allowed: undecided, these units are too few to tell" in summary(manifest(world), world.path)
    assert manifest(world).engines["cpu"][f"{ROLE}/{KEY}"].reason.endswith("undecided by 9 units")
    (gate,) = manifest(world).gates["quantize cpu"]
    assert "9 units are too few to tell, about 300 would do" in gate.note
    assert QuantizedView(ROLE, made.models[ROLE]).graphs[0].words(made.models[ROLE].graphs[KEY].rated[0]) == ["chosen", "undecided", "Pareto"]


def test_the_table_of_what_was_not_timed_has_no_figures_for_it(world):
    found = world.run().models[ROLE]
    untimed = [one.model_copy(update={"ratio": None, "latency_ms": None, "memory_mb": None}) for one in found.graphs[KEY].rated]
    graphs = {KEY: found.graphs[KEY].model_copy(update={"rated": tuple(untimed)})}
    made = Quantization(bundle="toy", target="jetson", models={ROLE: found.model_copy(update={"graphs": graphs})}, untouched={"ears": "no data"})
    said = table(made).splitlines()
    assert next(line for line in said if "ort small" in line).split()[-4:] == ["-", "-", "1.0", "-"]
    assert any(line.startswith("judged on ") for line in said)
    assert said[-1] == "ears stays as it is: no data"
