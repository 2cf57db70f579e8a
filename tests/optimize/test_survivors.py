"""The accuracy half of ``mmedge quantize``: which candidates hold, which are repaired, what is done again, and a user's mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from evaluate.data_sets import json_lines, write
from optimize.small_model import KEY, pictures, sifted, target, weighty

from mmedge.bundle import Bundle
from mmedge.evaluate.data import open_data
from mmedge.evaluate.eval import answered
from mmedge.evaluate.samples import Sample
from mmedge.optimize import judging, proposals, survivors
from mmedge.optimize.feeding import calibrated
from mmedge.optimize.work import AGREEMENT, begin


@pytest.fixture
def bundle(toy_bundle):
    return weighty(toy_bundle)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def counted(monkeypatch):
    """How often the data were gone through, and graphs were made."""
    calls = Counter()

    def count(module, name, what):
        before = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: (calls.update([what]), before(*arguments))[1])

    count(judging, "answered", "judged")
    count(proposals, "maker", "made")
    return calls


def test_what_holds_is_kept_with_its_figures(bundle, tmp_path):
    found, warnings = sifted(bundle, pictures(tmp_path / "data"))
    rated = {one.rated.name: one.rated for one in found.survivors}
    assert list(rated) == ["ort fp32", "ort dynamic", "ort static-minmax"] and not found.rejected and not warnings
    for one in found.survivors:
        assert one.rated.passed and one.rated.loss.metric == "accuracy" and one.rated.metric.n == 24 and one.rated.latency_ms is None
        assert one.candidate.graph.path.is_file() and one.rated.size_mb == pytest.approx(one.candidate.graph.size_bytes / 1e6)
    assert (rated["ort fp32"].precision, rated["ort dynamic"].precision) == ("fp32", "int8")
    assert rated["ort dynamic"].size_mb < 0.35 * rated["ort fp32"].size_mb
    assert [one.made is not None for one in found.survivors] == [False, True, True]


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_the_gate_fails_a_bad_candidate_and_repair_saves_it(method, toy_bundle, tmp_path):
    """One channel in a thousand times the range: 8 bits have nothing left for the others. By the static way, it is rounded where it is made."""
    at = target(quantize={"ort": ({"method": method},)})
    found, _ = sifted(weighty(toy_bundle, outlier=1000), pictures(tmp_path / "data"), at, lines=(lines := []))
    _, one = found.survivors
    assert (
        one.rated.backend == "ort"
        and one.rated.precision == "int8"
        and one.rated.passed
        and one.rated.kept_float == ("narrow",)
        and 0 < one.rated.evaluations <= 12
    )
    assert any(f"ort {method}" in line and " loses " in line and "it is repaired" in line for line in lines)
    assert "narrow" in one.made.kept_float


def test_what_no_repair_saves_is_rejected_with_the_reason(toy_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(survivors, "ranked", lambda *arguments: ("mean", "turn", "back"))  # not what is hard to round
    found, _ = sifted(weighty(toy_bundle, outlier=1000), pictures(tmp_path / "data"))
    assert [one.rated.name for one in found.survivors] == ["ort fp32"]
    for one in found.rejected:
        assert not one.passed and one.loss.word == "lost" and 0 < one.evaluations <= 12
        assert "points lost" in one.note and "no part of it left in float made it hold" in one.note


def test_a_second_call_does_nothing_and_an_option_redoes_what_depends_on_it(bundle, tmp_path, counted):
    data = pictures(tmp_path / "data")
    first, _ = sifted(bundle, data)
    assert counted == {"judged": 3, "made": 2}
    again, _ = sifted(bundle, data)
    assert counted == {"judged": 3, "made": 2}
    assert [one.rated for one in again.survivors] == [one.rated for one in first.survivors]
    sifted(bundle, data, metric="f1_macro")
    sifted(bundle, data, metric="cosine")
    assert counted == {"judged": 3, "made": 2}  # what each sample adds to every metric is known
    sifted(bundle, data, samples=5)
    assert counted == {"judged": 4, "made": 3}  # static ranges alone
    sifted(bundle, open_data(data, limit=12))
    assert counted == {"judged": 7, "made": 4}
    write(data / "more.png", (data / "red0.png").read_bytes())
    json_lines(data / "metadata.jsonl", [{"file_name": "more.png", "label": "red"}, {"file_name": "blue0.png", "label": "blue"}])
    sifted(bundle, data)
    assert counted["judged"] == 10


def test_what_an_evaluation_left_behind_is_what_it_found(bundle, tmp_path):
    data = open_data(pictures(tmp_path / "data"))
    for name in ("accuracy", "f1_macro", "precision_micro", "recall_weighted", "roc_auc"):
        with begin(Bundle.open(bundle), target(), data, metric=name) as work:
            with work.bundle.session("eyes", "cpu") as session:
                expected = {one.name: one for one in answered(session, work.task, work.data).scored.metrics}
            stored = judging.metric(work, {})
            assert set(expected) == set(work.task.metrics)
        assert stored == expected[name] and np.array_equal(stored.samples.rows, expected[name].samples.rows)


KILLED = """
import sys
from pathlib import Path
from optimize.small_model import target
from mmedge.bundle import Bundle
from mmedge.evaluate.data import open_data
from mmedge.optimize import judging
from mmedge.optimize.survivors import survivors
from mmedge.optimize.work import begin

before, calls = judging.answered, []

def slow(*arguments):
    calls.append(1)
    if len(calls) == 3:
        print("third", flush=True)
        sys.stdin.read()
    return before(*arguments)

judging.answered = slow
with begin(Bundle.open(sys.argv[1]), target(), open_data(sys.argv[2])) as work:
    survivors(work, "image_encoder")
"""


def test_a_killed_run_is_resumed_where_it_was(bundle, tmp_path, counted):
    data = pictures(tmp_path / "data")
    paths = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, bundle, data], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}, text=True
    )
    assert process.stdout.readline() == "third\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found, _ = sifted(bundle, data)
    assert counted == {"judged": 1} and len(found.survivors) == 3  # fp32's and the dynamic one's evaluations, and both graphs, were there
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_a_damaged_step_is_made_again(bundle, tmp_path, counted):
    data = pictures(tmp_path / "data")
    sifted(bundle, data)
    for folder in (tmp_path / "cache" / "steps").glob("made-*"):
        graph = next((folder / "content").glob("*dynamic*.onnx"), None)
        if graph:
            graph.write_bytes(graph.read_bytes()[:-100])
    found, _ = sifted(bundle, data)
    assert counted == {"judged": 3, "made": 3} and not found.rejected


def test_pictures_are_not_gathered(bundle, tmp_path, monkeypatch):
    data = open_data(pictures(tmp_path / "data", count=10))
    alive, most = [], 0
    before = Sample.picture

    def picture(sample, column="image"):
        nonlocal most
        found = before(sample, column)
        alive.append(weakref.ref(found))
        most = max(most, sum(one() is not None for one in alive))
        return found

    monkeypatch.setattr(Sample, "picture", picture)
    sifted(bundle, data)
    assert len(alive) == 4 * 60 and most <= 2


def test_pictures_alone_are_enough_for_an_image_encoder(bundle, tmp_path):
    found, warnings = sifted(bundle, pictures(tmp_path / "data", labelled=False))
    rated = {one.rated.name: one.rated for one in found.survivors}
    assert rated["ort fp32"].metric.value == pytest.approx(1) and rated["ort fp32"].loss.word == "kept"
    assert 0.99 < rated["ort dynamic"].metric.value < 1 and rated["ort dynamic"].loss.metric == "cosine"
    assert warnings == ["judged-by-agreement: data has no right answers, so eyes is judged by its cosine with its own fp32 alone"]


@pytest.mark.parametrize("metric", AGREEMENT)
def test_agreement_with_fp32_judges_where_it_is_asked_for(toy_bundle, tmp_path, metric):
    found, warnings = sifted(weighty(toy_bundle, outlier=1000), pictures(tmp_path / "data"), target(quantize={"ort": ({"method": "dynamic"},)}), metric=metric)
    fp32, dynamic = (one.rated for one in found.survivors)
    assert fp32.metric.value == pytest.approx(1) and dynamic.kept_float == ("narrow",) and dynamic.metric.value > 0.99 and not warnings


def test_a_candidate_without_numbers_is_refused_before_the_data(bundle, tmp_path, monkeypatch, counted):
    before = proposals.maker

    class Spoiled:
        def make(self, graph, feeds, out, options, keep=()):
            import onnx

            made = before("ort", options).make(graph, feeds, out, options, keep)
            model = onnx.load(made.file)
            one = next(one for one in model.graph.initializer if one.name == "one")
            one.CopyFrom(onnx.numpy_helper.from_array(np.array(np.nan, np.float32), "one"))
            onnx.save(model, made.file)
            return made

    monkeypatch.setattr(proposals, "maker", lambda backend, options: Spoiled())
    found, _ = sifted(bundle, pictures(tmp_path / "data"))
    assert [one.name for one in found.rejected] == ["ort dynamic", "ort static-minmax"]
    assert {one.note for one in found.rejected} == {"its output image_embedding is not finite on golden data"}
    assert counted["judged"] == 1


def test_what_a_backend_and_a_maker_refuse_is_part_of_the_answer(toy_bundle, tmp_path):
    """The toy's own graph has no weights."""
    at = target(backends=("openvino", "ort", "nothing"), precisions={"openvino": ("fp32",)})
    found, _ = sifted(toy_bundle, pictures(tmp_path / "data"), at)
    names = [one.rated.name for one in found.survivors]
    assert names[-1] == "ort fp32"
    notes = {one.name: one.note for one in found.rejected}
    assert notes["nothing fp32"] == "this version of mmedge has no nothing backend"
    assert "no node has integer weights" in notes["ort dynamic"]
    assert "would still be fp32" in notes["ort static-minmax"]


def test_nvidias_graphs_are_judged_without_a_gpu(bundle, tmp_path):
    board = target(backends=("tensorrt", "ort"), precisions={"tensorrt": ("fp16", "fp32")}, quantize={"tensorrt": ({"method": "static"},)}, build_on="device")
    found, _ = sifted(bundle, pictures(tmp_path / "data"), board)
    rated = {one.rated.name: one.rated for one in found.survivors}
    assert list(rated) == ["tensorrt fp32", "tensorrt static-minmax", "ort fp32"]
    assert "judged by onnxruntime on the CPU" in rated["tensorrt static-minmax"].note and not rated["ort fp32"].note


def test_a_graph_that_the_task_never_runs_is_judged_by_golden_data_alone(bundle, tmp_path):
    with Bundle.writing(bundle) as writing:
        eyes = writing.manifest.models["eyes"]
        with np.load(writing.file(eyes.golden)) as stored:
            arrays = dict(stored)
        arrays |= {name.replace(KEY, "spare"): array for name, array in arrays.items()}
        np.savez(tmp_path / "golden.npz", **arrays)
        update = {"graphs": {**eyes.graphs, "spare": eyes.graphs[KEY]}, "golden": writing.add("eyes", "golden.npz", tmp_path / "golden.npz")}
        writing.manifest = writing.manifest.model_copy(update={"models": {"eyes": eyes.model_copy(update=update)}})
        writing.commit()
    with begin(Bundle.open(bundle), target(), open_data(pictures(tmp_path / "data"))) as work:
        (one,) = survivors.survivors(work, "spare").survivors
        assert one.rated.name == "ort fp32" and one.rated.loss is None and one.rated.note == "unjudged"
        assert [line.partition(":")[0] for line in work.warnings] == ["unjudged"]


def test_calibration_takes_a_drawn_part_and_passes_over_what_cannot_be_read(bundle, tmp_path):
    data = pictures(tmp_path / "data")
    (data / "red1.png").write_bytes(b"none")
    with begin(Bundle.open(bundle), target(), open_data(data), max_unreadable=0.1, samples=10) as work:
        survivors.survivors(work, KEY)
        assert calibrated(work).samples in (9, 10)
        (said,) = work.warnings
        assert said.startswith("unreadable: 1 of 24 samples of data cannot be read and are left out: red1.png")
    with begin(Bundle.open(bundle), target(quantize={"ort": ({"method": "dynamic"},)}), open_data(data), max_unreadable=0.1) as work:
        assert calibrated(work).samples == 0  # nothing needs any
