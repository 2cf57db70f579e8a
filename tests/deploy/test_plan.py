"""The build plan: rules over every TensorRT that a board may have."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmedge import runner
from mmedge.backends.tensorrt.flags import typings
from mmedge.backends.tensorrt.versions import RELEASES, TENSORRT, row_for, within
from mmedge.bundle import Bundle
from mmedge.deploy.compile import compile
from mmedge.deploy.inspect import describe, inspect, summary
from mmedge.deploy.plan import Plan, Planning, key, setups, write_plan
from mmedge.documents import read_json
from mmedge.manifest import Graph, Manifest
from mmedge.manifest import Model as Entry
from mmedge.target import Target
from mmedge.tensors import TensorSpec

JETSONS = ["jetson", "jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-thor"]
EXPECTED = {"strong-or-weak": [(True, False), (False, True)], "strong": [(True, False)], "unconditional": [(False, False)]}
"""How a graph in fp16 is asked for: strongly typed, or by the weak flag, in this order."""
NVIDIA = {"fp16": ["--fp16"], "bf16": ["--bf16"], "int8": ["--int8", "--fp16"], "int4": ["--int4", "--fp16"]}


def quiet(line):
    pass


@pytest.fixture(scope="module")
def built(_toy_bundle, tmp_path_factory):
    """The toy's bundle, compiled for every Jetson at once: the first builds what the others then have evidence of. Not to be changed."""
    path = shutil.copytree(_toy_bundle, tmp_path_factory.mktemp("planned") / "toy.bundle")
    for name in JETSONS:
        made = compile(path, Target.load(name), quiet)
    return made


def read_plan(bundle, target):
    return read_json(bundle.path / bundle.manifest.plans[target][0].path, Plan, fix="")


@pytest.fixture(params=JETSONS)
def planned(request, built):
    return built, read_plan(built, request.param)


def test_a_plan_names_what_the_bundle_holds(planned):
    bundle, plan = planned
    (graph,) = plan.graphs
    (variant,) = bundle.manifest.models["eyes"].graphs["image_encoder"].variants
    assert (plan.bundle, graph.name, graph.precision) == ("toy", "eyes/image_encoder", "fp16")
    assert graph.file == variant.file
    assert graph.evidence == bundle.manifest.engines[plan.target][graph.name].evidence
    assert hashlib.sha256((bundle.path / graph.file.path).read_bytes()).hexdigest() == graph.file.sha256
    assert bundle.manifest.plans[plan.target][1:] == tuple(one.script for one in plan.generations)
    assert inspect(bundle.path)[1] == []  # every file is named and whole
    assert all(f"build plan: {file.path}" in describe(bundle.manifest) for file in bundle.manifest.plans[plan.target])
    assert f"build plan: {bundle.manifest.plans[plan.target][0].path}" in summary(bundle.manifest, bundle.path)
    assert "Never run on a Jetson" in plan.note


def test_a_plan_has_every_release_of_its_boards_under_the_tensorrt_that_comes_with_it(planned):
    _, plan = planned
    target = Target.load(plan.target)
    capabilities = {"orin-nano": "8.7", "orin-nx": "8.7", "agx-orin": "8.7", "thor": "11.0"}
    found = {(setup.jetpack, setup.l4t_low, setup.cuda, setup.tensorrt, setup.compute_capability) for one in plan.generations for setup in one.setups}
    expected = [(one, capabilities[board]) for one in RELEASES if one.tensorrt for board in {*one.boards} & {*target.boards}]
    assert found == {(one.jetpack, one.l4t_low, one.cuda, one.tensorrt, capability) for one, capability in expected}
    assert all(within(setup.tensorrt, one.low, one.high) for one in plan.generations for setup in one.setups)
    assert {setup.compute_capability for one in plan.generations for setup in one.setups} == set(target.compute_capability)


def test_every_command_keeps_the_rules_of_its_tensorrt(planned):
    _, plan = planned
    assert plan.generations
    for generation in plan.generations:
        row = row_for(generation.low)
        assert row is row_for(generation.high)
        assert set(row.boards) & set(Target.load(plan.target).boards)
        for command in generation.commands:
            attempts = [{argument.partition("=")[0] for argument in attempt} for attempt in command.trtexec]
            assert [("--stronglyTyped" in flags, "--fp16" in flags) for flags in attempts] == EXPECTED[row.rule]
            for flags, attempt in zip(attempts, command.trtexec):
                assert len(flags) == len(attempt)
                assert not flags & {*row.removed, *row.no_ops, "--int8", "--best", "--useDLACore", "--allowGPUFallback"}
                assert ({"--useCudaGraph", "--useSpinWait"} <= flags) == (int(generation.low.partition(".")[0]) < 11)
                assert {"--onnx", "--skipInference", "--saveEngine", "--timingCacheFile", "--memPoolSize"} <= flags


@pytest.mark.parametrize(
    ("target", "tensorrt", "command"),
    [
        ("jetson", "10.3.0.30", "--memPoolSize=workspace:1024 --profilingVerbosity=detailed --useCudaGraph --useSpinWait --stronglyTyped"),
        ("jetson-agx-orin", "10.16.2.10", "--memPoolSize=workspace:8192 --profilingVerbosity=detailed --useCudaGraph --useSpinWait --stronglyTyped"),
        ("jetson-thor", "10.13.3.9", "--memPoolSize=workspace:16384 --profilingVerbosity=detailed --useCudaGraph --useSpinWait --stronglyTyped"),
        ("jetson-thor", "11.4.1", "--memPoolSize=workspace:16384 --profilingVerbosity=detailed"),
    ],
)
def test_the_whole_command(built, target, tensorrt, command):
    plan = read_plan(built, target)
    (generation,) = (one for one in plan.generations if within(tensorrt, one.low, one.high))
    onnx = plan.graphs[0].file.path
    engine = onnx.replace("/", ".").removesuffix(".onnx")
    files = f"--timingCacheFile={{engines}}/{engine}.timing --skipInference --saveEngine={{engines}}/{engine}.plan"
    (shape,) = plan.graphs[0].shapes
    sides = {"min": shape.min, "opt": shape.opt, "max": shape.max}
    profile = " ".join(f"--{side}Shapes={shape.input}:{'x'.join(map(str, sizes))}" for side, sizes in sides.items())
    assert shape.dynamic
    assert " ".join(generation.commands[0].trtexec[0]) == f"trtexec --onnx={onnx} {profile} {command} {files}"


def test_tensorrt_that_supports_no_jetson_is_in_no_plan(planned):
    _, plan = planned
    assert not any(within(version, one.low, one.high) for one in plan.generations for version in ("11.0.0", "11.2.1", "11.4.0", "11.5.0"))
    assert any(one.low == "11.4.1" for one in plan.generations) == bool({"agx-orin", "thor"} & set(Target.load(plan.target).boards))


@pytest.mark.parametrize("row", TENSORRT, ids=lambda row: row.low)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_weak_and_strong_typing_never_meet(row, precision):
    weak = NVIDIA.get(precision, [])
    expected = {
        "unconditional": [[]],
        "strong": [["--stronglyTyped"]],
        "strong-or-weak": [["--stronglyTyped"], weak] if weak else [[]],
    }[row.rule]
    assert [list(attempt) for attempt in typings(row, precision)] == expected


def test_no_release_is_in_two_rows():
    target = Target.load("jetson")
    found = [(setup.jetpack, setup.compute_capability) for row in TENSORRT for setup in setups(target, row)]
    assert len(found) == len(set(found)) == 7 + 1  # 7.2 is for both chips; of 7.2.1 and 7.2.2 the TensorRT is not known


def test_an_engines_key_differs_with_everything_that_matters(built):
    plan = read_plan(built, "jetson")
    command = plan.generations[0].commands[0]
    board = {"tensorrt": "10.3.0.30", "compute_capability": "8.7", "l4t": "36.4.3", "cuda": "12.6.11"}
    assert set(key(command, **board)) == {"tensorrt", "compute_capability", "l4t", "cuda", "sha256", "shapes", "options"}
    changed = [{**board, name: "9.9"} for name in board]
    others = [command.model_copy(update={"key": {**command.key, name: "other"}}) for name in command.key]
    found = [key(command, **board), *(key(command, **one) for one in changed), *(key(other, **board) for other in others)]
    assert len({json.dumps(one, sort_keys=True) for one in found}) == 1 + 4 + 3
    thor = {**board, "cuda": "12.8", "compute_capability": "10.1"}
    assert key(command, **thor) == key(command, **{**thor, "compute_capability": "11.0"})


def test_planning_twice_changes_nothing(built, tmp_path):
    path = shutil.copytree(built.path, tmp_path / "toy.bundle")
    assert compile(path, Target.load("jetson"), quiet).manifest.plans == built.manifest.plans
    assert inspect(path)[1] == []


@pytest.mark.parametrize("target", ["cpu", "null", "nvidia", "rtx"])
def test_only_boards_have_plans(toy_bundle, target):
    assert compile(toy_bundle, Target.load(target), quiet).manifest.plans == {}


def convolution(path, *operators):
    """A graph of these operators in a row, each of one input but for Conv and MatMul, over fixed shapes."""
    square = numpy_helper.from_array(np.ones((4, 4), np.float32), "square")
    kernel = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "kernel")
    second = {"Conv": ["kernel"], "MatMul": ["square"]}
    nodes = [helper.make_node(kind, [f"t{at}", *second.get(kind, ())], [f"t{at + 1}"]) for at, kind in enumerate(operators)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 4]) for name in ("t0", f"t{len(nodes)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [square, kernel]), opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.mark.parametrize(("name", "row"), [(name, row) for name in JETSONS for row in TENSORRT if set(row.boards) & set(Target.load(name).boards)])
@pytest.mark.parametrize(
    ("operators", "precision", "shape", "may"),
    [
        (("Conv", "Relu"), "fp16", (1, 4, 4, 4), True),
        (("Conv", "Relu"), "fp32", (1, 4, 4, 4), False),
        (("Conv", "Relu"), "fp16", ("batch", 4, 4, 4), False),
        (("Conv", "MatMul"), "fp16", (1, 4, 4, 4), False),
        (("Relu",), "fp16", (1, 4, 4, 4), False),
    ],
)
def test_the_accelerator_for_convolutions_is_named_where_it_is_and_may_take_the_graph(tmp_path, row, name, operators, precision, shape, may):
    target = Target.load(name)
    with Bundle.writing(tmp_path / "bundle", create=True) as bundle:
        path = convolution(tmp_path / "g.onnx", *operators)
        stored = Graph(file=bundle.add("eyes", "g.onnx", path), inputs=(), outputs=(), opset=18, ir=10, reference="")
        graph = runner.Graph(path, "", (TensorSpec("t0", "float32", shape),), (), ranges={"batch": (1, 1, 2)})
        bundle.manifest = Manifest(
            name="c", created="", models={"eyes": Entry(family="toy", config={}, graphs={"g": stored}, assets={}, golden=stored.file, cases=())}, media={}
        )
        file, *_ = write_plan(bundle, target, [Planning("eyes/g", stored, graph, precision)])
        plan = read_json(bundle.path / file.path, Plan, fix="")
        (generation,) = (one for one in plan.generations if one.low == row.low)
        command, text = generation.commands[0], (bundle.path / generation.script.path).read_text()
    there = bool(row.dla and target.dla_cores and set(row.dla) & set(target.boards))
    assert bool(command.dla) == (there and may)
    assert ("--useDLACore=0" in text) == bool(command.dla)
    for plain, accelerated in zip(command.trtexec, command.dla):
        assert set(accelerated) - set(plain) >= {"--useDLACore=0", "--allowGPUFallback"}
        assert not any(argument.startswith(("--minShapes", "--maxShapes")) for argument in accelerated)
        assert {argument for argument in plain if argument.endswith(".plan")} != {argument for argument in accelerated if argument.endswith(".plan")}
