from __future__ import annotations

import typing

import pytest

from mmedge.errors import MmedgeError
from mmedge.training import Kind, Objective

torch = pytest.importorskip("torch")
from torch.nn.functional import normalize  # noqa: E402

from mmedge.nets.objectives import OBJECTIVES, WeightedSum, top_k  # noqa: E402


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def everything(batch=4):
    """A tensor for each name that any objective asks for."""
    ids, chances = top_k(drawn(batch, 3, 6, seed=9), 3)
    return {
        **{name: normalize(drawn(batch, 5, seed=number), dim=-1) for number, name in enumerate(EMBEDDINGS)},
        "scale": torch.tensor(3.0, dtype=torch.float64),
        "teacher_scale": torch.tensor(5.0, dtype=torch.float64),
        "bias": torch.tensor(-1.0, dtype=torch.float64),
        "logits": drawn(batch, 3, seed=5),
        "teacher_logits": drawn(batch, 3, seed=6),
        "labels": torch.arange(batch) % 3,
        "alone": {"image": drawn(batch, 3, seed=7), "text": drawn(batch, 3, seed=8)},
        "hidden_states": tuple(drawn(batch, 3, 4, seed=number) for number in range(3)),
        "teacher_hidden_states": tuple(drawn(batch, 3, 4, seed=20 + number) for number in range(5)),
        "attentions": tuple(drawn(batch, 2, 3, 3, seed=number).softmax(-1) for number in range(2)),
        "teacher_attentions": tuple(drawn(batch, 2, 3, 3, seed=20 + number).softmax(-1) for number in range(4)),
        "teacher_top_ids": ids,
        "teacher_top_log_probs": chances,
    }


EMBEDDINGS = ("image_embedding", "text_embedding", "teacher_image_embedding", "teacher_text_embedding")


def for_kind(kind, batch=4):
    """Some kinds give other shapes to the same names."""
    tensors = everything(batch)
    if kind == "matching":
        tensors |= {"logits": drawn(batch, seed=5), "labels": torch.arange(batch) % 2}
    if kind == "sequence":
        tensors |= {"logits": drawn(batch, 3, 6, seed=5), "labels": torch.arange(3 * batch).reshape(batch, 3) % 6}
    return tensors


def flat(value):
    return [value] if torch.is_tensor(value) else list(value.values() if isinstance(value, dict) else value)


def test_every_kind_of_a_recipe_is_there():
    assert set(OBJECTIVES) == set(typing.get_args(Kind))


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(kind):
    tensors, loss = for_kind(kind), WeightedSum([Objective(kind=kind)])
    trained = [name for name in sorted(loss.needs) if not name.startswith("teacher_") and name != "labels"]
    leaves = [one.clone().requires_grad_() for name in trained for one in flat(tensors[name])]

    def value(*given):
        left = list(given)
        fed = dict(tensors)
        for name in trained:
            count = len(flat(tensors[name]))
            taken, left = left[:count], left[count:]
            old = tensors[name]
            fed[name] = taken[0] if torch.is_tensor(old) else dict(zip(old, taken)) if isinstance(old, dict) else tuple(taken)
        return loss(fed)[0]

    assert torch.autograd.gradcheck(value, leaves, fast_mode=True)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_order_of_a_batch_is_no_matter(kind):
    tensors, order = for_kind(kind), torch.tensor([2, 0, 3, 1])

    def shuffled(value):
        if torch.is_tensor(value):
            return value[order] if value.ndim else value
        return {name: one[order] for name, one in value.items()} if isinstance(value, dict) else tuple(one[order] for one in value)

    loss = WeightedSum([Objective(kind=kind)])
    assert float(loss({name: shuffled(value) for name, value in tensors.items()})[0]) == pytest.approx(float(loss(tensors)[0]), rel=1e-9)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_what_is_needed_is_asked_for_by_name(kind):
    tensors, loss = for_kind(kind), WeightedSum([Objective(kind=kind)])
    needed = {name: tensors[name] for name in loss.needs}
    assert torch.isfinite(loss(needed)[0])
    for name in needed:
        with pytest.raises(MmedgeError, match=f"needs {name}, which there is none of"):
            loss({**needed, name: None})


def test_terms_are_weighed_and_told_by_name():
    said = [Objective(kind="contrastive", weight=2.0), Objective(kind="features", weight=0.5, settings={"of": "text_embedding"}), Objective(kind="features")]
    tensors = everything()
    total, terms = WeightedSum(said)(tensors)
    assert list(terms) == ["contrastive", "features.text_embedding", "features"]
    assert float(total) == pytest.approx(float(2 * terms["contrastive"] + 0.5 * terms["features.text_embedding"] + terms["features"]), rel=1e-12)
    assert float(terms["features.text_embedding"]) == pytest.approx(
        float((tensors["text_embedding"] - tensors["teacher_text_embedding"]).square().sum() / 4), rel=1e-12
    )
    assert not any(term.requires_grad for term in terms.values())


def test_settings_reach_the_function():
    tensors = everything()
    found = [float(WeightedSum([Objective(kind="logits", settings={"temperature": one})])(tensors)[0]) for one in (1, 4.0)]
    assert found == [pytest.approx(float(OBJECTIVES["logits"](tensors["logits"], tensors["teacher_logits"], temperature=one))) for one in (1, 4)]
    assert found[0] != pytest.approx(found[1])
    chosen = WeightedSum([Objective(kind="hidden", settings={"layers": (0, -1, 3)})])(tensors)[0]
    assert float(chosen) != pytest.approx(float(WeightedSum([Objective(kind="hidden")])(tensors)[0]))


def test_a_mask_belongs_to_what_is_compared():
    tensors = {**everything(), "hidden_states_mask": torch.tensor([[1, 0, 0]] * 4)}
    tensors |= {"seen": tensors["hidden_states"], "teacher_seen": tensors["teacher_hidden_states"]}
    masked, other = (float(WeightedSum([Objective(kind="hidden", settings=one)])(tensors)[0]) for one in ({}, {"of": "seen"}))
    assert masked != pytest.approx(other)


def test_projectors_are_trained_along_and_kept():
    said = [Objective(kind="features", settings={"projector": True}), Objective(kind="features", settings={"projector": True, "of": "text_embedding"})]
    loss = WeightedSum(said, {"image_embedding": (5, 8), "text_embedding": (5, 6)}).double()
    tensors = {**everything(), "teacher_image_embedding": drawn(4, 8), "teacher_text_embedding": drawn(4, 6)}
    loss(tensors)[0].backward()
    assert sorted(tuple(one.shape) for one in loss.parameters()) == [(6,), (6, 5), (8,), (8, 5)]
    assert all(one.grad.abs().max() > 0 for one in loss.parameters())
    again = WeightedSum(said, {"image_embedding": (5, 8), "text_embedding": (5, 6)}).double()
    again.load_state_dict(loss.state_dict())
    assert float(again(tensors)[0]) == float(loss(tensors)[0])


@pytest.mark.parametrize(
    ("said", "what", "fix"),
    [
        ([], "there is no objective", "contrastive"),
        ([Objective(kind="logits"), Objective(kind="logits", weight=2)], "named twice", "keep one"),
        ([Objective(kind="logits", settings={"temprature": 2})], "logits has no setting 'temprature'", "did you mean temperature?"),
        ([Objective(kind="contrastive", settings={"xyz": 2})], "contrastive has no setting 'xyz'", "it has none"),
        ([Objective(kind="logits", settings={"temperature": 0})], "cannot take temperature = 0", "above 0"),
        ([Objective(kind="logits", settings={"temperature": "hot"})], "cannot take temperature = 'hot'", "a number"),
        ([Objective(kind="features", settings={"distance": "L1"})], "cannot take distance = 'L1'", "'mse' or 'cosine'"),
        ([Objective(kind="features", settings={"projector": 3})], "cannot take projector = 3", "true or false"),
        ([Objective(kind="hidden", settings={"layers": 3})], "cannot take layers = 3", "a list of whole numbers"),
        (
            [Objective(kind="features", settings={"projector": True, "of": "sound"})],
            "features.sound: nothing is known of the widths of sound",
            "what this model",
        ),
    ],
)
def test_what_a_recipe_can_get_wrong(said, what, fix):
    with pytest.raises(MmedgeError, match=what) as told:
        WeightedSum(said)
    assert fix in told.value.fix
