"""What quantizers see of the user's data: how much, which, and how little of it is in memory at once."""

from __future__ import annotations

import weakref
from collections import Counter

import numpy as np
import pytest
from small_quantized import attends

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.optimize import proto
from mmedge.optimize.calibration import GOLDEN_ONLY, Kept, Recorder, calibrate
from mmedge.optimize.ranges import ranges
from mmedge.quantization import Static
from mmedge.target import Target
from mmedge.tensors import TensorSpec

CPU = Target(name="cpu-only", summary="", backends=("ort",), max_opset=18, max_ir=10)


def looks(pictures):
    """The toy's task on pictures."""

    def uses(session):
        for picture in pictures:
            yield session.embed_image(picture)

    return uses


def pictures(count, seed=0):
    chance = np.random.default_rng(seed)
    for _ in range(count):
        yield chance.integers(0, 256, (20, 20, 3), np.uint8)


def test_a_graphs_feeds_are_what_its_task_gave_it(toy_bundle, tmp_path):
    """On a bundle that is not even compiled for the target: fp32 needs no placement."""
    bundle = Bundle.open(toy_bundle)
    made = calibrate(bundle, "eyes", CPU, looks(pictures(5)), tmp_path)
    with bundle.session("eyes", "cpu") as session:
        expected = [session.pixels(picture) for picture in pictures(5)]
    for _ in range(2):  # from the beginning each time
        assert all(np.array_equal(got["pixel_values"], wanted) for got, wanted in zip(made.feeds["image_encoder"](), expected, strict=True))
    assert (made.samples, made.warnings) == (5, ())


def living(refs):
    return sum(one() is not None for one in refs)


def test_samples_are_taken_one_by_one_and_no_more_than_asked(toy_bundle, tmp_path):
    taken, alive, most = 0, [], 0

    class Picture(np.ndarray):
        pass

    def counted():
        nonlocal taken, most
        for picture in pictures(1000):
            taken += 1
            held = picture.view(Picture)
            alive.append(weakref.ref(held))
            del picture
            most = max(most, living(alive))
            yield held
            del held

    made = calibrate(Bundle.open(toy_bundle), "eyes", CPU, looks(counted()), tmp_path, samples=50)
    assert made.samples == taken == 50
    assert most <= 2
    read: list[weakref.ref] = []
    for one in made.feeds["image_encoder"]():
        read.append(weakref.ref(one["pixel_values"]))
        assert living(read) <= 2


def test_ranges_hold_one_sample_at_a_time(tmp_path):
    """onnxruntime's calibrators keep all that they are given at once."""
    alive, most = [], 0

    class Given(np.ndarray):
        pass

    def feeds():
        nonlocal most
        for seed in range(30):
            x = np.random.default_rng(seed).standard_normal((3, 128)).astype(np.float32).view(Given)
            alive.append(weakref.ref(x))
            most = max(most, living(alive))
            yield {"x": x}
            del x

    model = proto.load(attends(tmp_path))
    for kind in ("minmax", "percentile", "entropy"):
        found = ranges(model, {"x", "active"}, feeds, Static(ranges=kind))
        assert 0 < most <= 3
        assert set(found.keys()) == {"x", "active"}
    lowest, highest = ranges(model, {"x"}, feeds, Static())["x"].range_value
    every = np.concatenate([one["x"] for one in feeds()])
    assert (np.ravel(lowest), np.ravel(highest)) == (every.min(), every.max())


def test_the_disk_is_bounded_and_what_is_kept_is_spread_evenly(tmp_path):
    kept = Kept(tmp_path, most_bytes=20_000)
    for number in range(500):
        kept.add({"x": np.full(250, number, np.float32)})
    numbers = [int(one["x"][0]) for one in kept()]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert numbers == list(range(0, 500, numbers[1]))
    assert len(kept) == len(numbers)


class Doubles:
    inputs = (TensorSpec("x", "float32", (1,)), TensorSpec("past", "float32", ("n",)))
    outputs = (TensorSpec("y", "float32", (1,)), TensorSpec("present", "float32", ("n + 1",)))
    reuses_outputs = False

    def run(self, feeds):
        return {"y": feeds["x"] * 2, "present": np.concatenate([feeds["past"], feeds["x"]])}


def steps_of(seed, count=10):
    recorder = Recorder(Doubles(), (seed,))
    carried = recorder.carry({"present": "past"}, {"past": np.zeros(0, np.float32)})
    buffer = np.zeros(1, np.float32)  # a session may use its arrays again
    for number in range(count):
        buffer[0] = number
        assert carried.run({"x": buffer}) == {"y": [2.0 * number]}
    return recorder.take()


def test_of_a_decoders_steps_the_first_and_one_other_are_kept_with_their_cache():
    chosen = Counter()
    for seed in range(400):
        first, other = steps_of(seed)
        assert (first["x"].tolist(), first["past"].tolist()) == ([0.0], [])
        assert other["past"].tolist() == list(range(int(other["x"][0])))
        chosen[int(other["x"][0])] += 1
    assert set(chosen) == set(range(1, 10))
    assert max(chosen.values()) < 2 * 400 / 9  # 9 steps with the same chance
    assert [steps_of(5)[1]["x"].tolist() for _ in range(2)] == [steps_of(5)[1]["x"].tolist()] * 2
    assert len(steps_of(0, count=1)) == 1


def test_without_data_there_are_golden_feeds_and_a_warning_that_names_itself(toy_bundle, tmp_path):
    made = calibrate(Bundle.open(toy_bundle), "eyes", CPU, None, tmp_path)
    (golden,) = made.feeds["image_encoder"]()
    assert np.array_equal(golden["pixel_values"], Golden(Bundle.open(toy_bundle), "eyes").graph("image_encoder")[0]["pixel_values"])
    assert made.samples == 0
    assert made.warnings[0].startswith(f"{GOLDEN_ONLY}: eyes ")


def test_a_graph_that_the_task_never_runs_has_golden_feeds_and_a_warning(toy_bundle, tmp_path):
    def idle(session):
        yield None

    made = calibrate(Bundle.open(toy_bundle), "eyes", CPU, idle, tmp_path)
    assert len(list(made.feeds["image_encoder"]())) == 1
    assert "eyes/image_encoder" in made.warnings[0]


def test_data_without_samples_is_two_lines(toy_bundle, tmp_path):
    with pytest.raises(MmedgeError, match="no sample to calibrate eyes on") as empty:
        calibrate(Bundle.open(toy_bundle), "eyes", CPU, looks([]), tmp_path)
    assert "--data" in empty.value.fix
