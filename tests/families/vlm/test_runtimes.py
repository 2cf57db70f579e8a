"""The exported graphs in ONNX Runtime, OpenVINO and the reference evaluator, with caches of both forms, against transformers' ``generate``."""

import numpy as np
import pytest
from checkpoints.vlm import CHECKPOINTS
from checks import compiled, graph_drift
from vlm_made import CAT, CHATS, MEDIA, make, said, tokens

from mmedge.families.vlm.session import Session
from mmedge.runner import Copied
from mmedge.target import Target

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("_no_guards")]

TARGET = """schema = "mmedge.target/1"
name = "{name}"
summary = "for tests"
backends = ["{backend}"]
cache = "{cache}"
max_opset = 18
max_ir = 10
[precisions]
{backend} = ["fp32"]
"""
GRAPHS = ("image_encoder", "connector", "token_embedding", "language")


@pytest.fixture(scope="module", params=list(CHECKPOINTS))
def bundle(request, tmp_path_factory, small_bundle):
    """(what transformers makes of the checkpoint, its bundle, targets by name)"""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "checkpoint").mkdir()
    made = make(folder / "checkpoint", CHECKPOINTS[request.param])
    targets = {}
    for backend in ("ort", "openvino"):
        for cache in ("growing", "fixed"):
            path = folder / f"{backend}-{cache}.toml"
            path.write_text(TARGET.format(name=path.stem, backend=backend, cache=cache))
            targets[path.stem] = Target.load(str(path))
    return made, compiled(small_bundle(request.param), folder / "small.bundle", *targets.values()), targets


class Changed:
    """A runner that does something else."""

    reuses_outputs = False

    def __init__(self, runner, before=lambda feeds: feeds, after=lambda outputs: outputs):
        self.inputs, self.outputs = runner.inputs, runner.outputs
        self.run = lambda feeds: after(runner.run(before(feeds)))

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


def zeroed(outputs):
    return {name: np.zeros_like(array) for name, array in outputs.items()}


def backwards(outputs):
    """Features in the places of other features."""
    return {name: np.ascontiguousarray(array[..., ::-1, :]) for name, array in outputs.items()}


def shifted(feeds):
    return {name: np.roll(array, 1, axis=2) if name.startswith("past_key") else array for name, array in feeds.items()}


def swapped(feeds):
    """Rows for columns: what only Qwen3-VL is told."""
    return {name: np.ascontiguousarray(array[[0, 2, 1]]) if name == "position_ids" else array for name, array in feeds.items()}


def without_deepstack(feeds):
    return {name: np.zeros_like(array) if name.startswith("deepstack") else array for name, array in feeds.items()}


MUTATIONS = {
    "image features zeroed": ("connector", {"after": zeroed}),
    "image features permuted": ("connector", {"after": backwards}),
    "cache shifted by one": ("language", {"before": shifted}),
    "positions swapped": ("language", {"before": swapped}),
    "deepstack left out": ("language", {"before": without_deepstack}),
}
QWEN_ALONE = ("positions swapped", "deepstack left out")


def test_the_bundle_is_whole_and_checked_everywhere(bundle):
    _, made, targets = bundle
    model = made.manifest.models["vlm"]
    assert set(model.graphs) - {"language-tensorscatter"} == {*GRAPHS, "language-scatternd"}
    for target in targets:
        gates = made.manifest.gates[f"check {target}"]
        assert len(gates) == 4 + 6 and all(gate.passed and gate.value is not None for gate in gates)
    assert all(gate.value <= 1 for gate in made.manifest.gates["export"])


def test_tokens_equal_generate_on_every_runtime_in_both_forms(bundle):
    made, exported, targets = bundle
    expected = {name: made.reference.reply(messages) for name, messages in CHATS.items()}
    assert len({tuple(reply) for reply in expected.values()}) == len(CHATS)
    for target in targets.values():
        with exported.session("vlm", target) as session:
            assert {name: tokens(session, messages) for name, messages in CHATS.items()} == expected, target.name


def test_mutations_break_it(bundle):
    made, exported, targets = bundle
    messages = CHATS["two pictures"]
    expected = made.reference.reply(messages)
    with exported.session("vlm", targets["ort-growing"]) as session:
        runners = dict(session._runners)
        for name, (graph, change) in MUTATIONS.items():
            if name in QWEN_ALONE and session.config.kind != "qwen3_vl":
                continue
            session._runners = {**runners, graph: Changed(runners[graph], **change)}
            assert tokens(session, messages) != expected, name
        session._runners = {**runners, "language": Changed(runners["language"])}
        assert tokens(session, messages) == expected, "the wrapper itself changes nothing"


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
def test_every_graph_equals_its_module(bundle, backend):
    made = bundle[1]
    for name in (*GRAPHS, "language-scatternd"):
        assert graph_drift(made, "vlm", name, backend) <= 1, name


def test_a_batch_of_tiles_is_as_good_as_one_after_the_other(bundle):
    """Qwen3-VL has no batches: its patches are of one picture."""
    _, exported, targets = bundle
    with exported.session("vlm", targets["ort-growing"]) as session:
        if session.config.kind == "qwen3_vl":
            return
        encoder, connector = session._runners["image_encoder"], session._runners["connector"]
        pixels = np.concatenate([session.pixels(MEDIA[name])["pixel_values"][:1] for name in ("cat", "coffee", "cat")])
        pixels[2] *= -1
        together = connector.run(encoder.run({"pixel_values": pixels}))["image_features"]
        for index in range(3):
            alone = connector.run(encoder.run({"pixel_values": pixels[index : index + 1]}))["image_features"]
            np.testing.assert_allclose(together[index : index + 1], alone, atol=1e-4)
        assert np.abs(together[0] - together[1]).max() > 0.1


def test_a_full_cache_says_so(bundle):
    from mmedge.errors import MmedgeError

    _, exported, targets = bundle
    with exported.session("vlm", targets["ort-fixed"]) as session:
        assert isinstance(session, Session)
        session.config = session.config.model_copy(update={"positions": 10_000})
        with pytest.raises(MmedgeError, match="tokens of this target's cache"):
            session.chat([said("user", CAT, "word " * 600)])
