"""Held against transformers' own models: the student's class, run on the same inputs."""

from __future__ import annotations

import pytest

from mmedge.errors import MmedgeError
from mmedge.training import Student

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from distill import made_models  # noqa: E402

from mmedge.distill.students import by_data, by_weights, smaller, student  # noqa: E402
from mmedge.distill.students.transformer import Kept, evenly, inherit  # noqa: E402

pytestmark = pytest.mark.full  # torch and transformers take seconds to import

ENCODERS = ["bert", "distilbert", "vit", "clip_vision", "qwen3", "whisper_encoder"]


def run(model, inputs):
    with torch.inference_mode():
        return model(**inputs)[0]


@pytest.mark.parametrize("kind", [*ENCODERS, "whisper"])
def test_a_student_of_full_size_is_its_teacher(kind):
    teacher, inputs = getattr(made_models, kind)()
    same = student(teacher, Student())
    assert same is not teacher and type(same) is type(teacher)
    assert torch.equal(run(same, inputs), run(teacher, inputs))
    with torch.no_grad():
        next(same.parameters()).zero_()
    assert not torch.equal(run(same, inputs), run(teacher, inputs)), "they share their weights"


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_order_of_heads_units_and_channels_is_no_matter(kind):
    """Everything kept in another order gives the same numbers, channels in that order. A weight cut along the wrong axis, or by another's choice, would not.

    The order of heads differs from layer to layer, that of the stream is one.
    """
    teacher, inputs = getattr(made_models, kind)()
    dice, scores = torch.Generator().manual_seed(3), by_weights(teacher)
    assert len(scores.inside) == 12, "six layers with an attention and a feed-forward part each"
    inside = {where: torch.randperm(len(one), generator=dice) for where, one in scores.inside.items()}
    order = torch.randperm(24, generator=dice)
    shuffled = inherit(teacher, teacher.config, Kept({}, inside, order))
    torch.testing.assert_close(run(shuffled, inputs), run(teacher, inputs)[..., order], atol=2e-5, rtol=1e-4)


def test_the_order_of_a_whole_whisper_is_no_matter():
    teacher, inputs = made_models.whisper()
    dice = torch.Generator().manual_seed(3)
    inside = {where: torch.randperm(len(one), generator=dice) for where, one in by_weights(teacher).inside.items()}
    assert len(inside) == 6 * 2 + 6 * 3
    shuffled = inherit(teacher, teacher.config, Kept({"model.decoder.layers": range(6)}, inside, torch.randperm(24, generator=dice)))
    torch.testing.assert_close(run(shuffled, inputs), run(teacher, inputs), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ENCODERS)
def test_layers_that_stay_do_what_they_did(kind):
    """The teacher with the other layers taken out, by torch alone."""
    teacher, inputs = getattr(made_models, kind)()
    found = smaller(teacher, depth=0.5)
    name = next(name for name, module in teacher.named_modules() if isinstance(module, torch.nn.ModuleList) and len(module) == 6)
    holder, _, last = name.rpartition(".")
    setattr(teacher.get_submodule(holder), last, torch.nn.ModuleList(teacher.get_submodule(name)[number] for number in (0, 2, 5)))
    torch.testing.assert_close(run(found, inputs), run(teacher, inputs))


def test_evenly_spaced():
    """3 of 6 as for MiniLM, 2 of 4 and 2 of 32 as Distil-Whisper, one of 6 the first."""
    assert [evenly(6, 3), evenly(4, 2), evenly(32, 2), evenly(6, 1), evenly(6, 6)] == [(0, 2, 5), (0, 3), (0, 31), (0,), tuple(range(6))]


def test_heads_and_units_that_go_are_those_that_count_least():
    """Equal to the teacher where those are silent: zeros in the weights that take them back into the stream."""
    teacher, inputs = made_models.qwen3()
    scores = by_weights(teacher)
    found = smaller(teacher, width=0.5)
    assert (found.config.num_attention_heads, found.config.num_key_value_heads, found.config.intermediate_size, found.config.hidden_size) == (4, 2, 24, 24)
    with torch.no_grad():
        for number, layer in enumerate(teacher.layers):
            silent = scores.inside[f"layers.{number}.self_attn"].argsort()[:2]
            layer.self_attn.o_proj.weight.unflatten(1, (4, -1))[:, silent] = 0
            layer.mlp.down_proj.weight[:, scores.inside[f"layers.{number}"].argsort()[:16]] = 0
    torch.testing.assert_close(run(found, inputs), run(teacher, inputs), atol=2e-5, rtol=1e-4)


def test_units_alone_go_where_heads_are_bound_to_the_stream():
    teacher, inputs = made_models.bert()
    scores = by_weights(teacher)
    found = smaller(teacher, width=0.5)
    assert (found.config.num_attention_heads, found.config.intermediate_size, found.config.hidden_size) == (4, 24, 24)
    with torch.no_grad():
        for number, layer in enumerate(teacher.encoder.layer):
            layer.output.dense.weight[:, scores.inside[f"encoder.layer.{number}"].argsort()[:16]] = 0
    torch.testing.assert_close(run(found, inputs), run(teacher, inputs), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [*ENCODERS, "whisper"])
def test_a_narrower_stream(kind, tmp_path):
    """It runs, its weights are the teacher's, its size is as its config says, and transformers loads it again."""
    teacher, inputs = getattr(made_models, kind)()
    found = student(teacher, Student(depth=0.5, width=0.5, residual=0.5))
    told = run(found, inputs)
    assert torch.isfinite(told).all()
    assert told.shape[-1] == (made_models.WORDS if kind == "whisper" else 16 if kind == "qwen3" else 12)
    found.save_pretrained(tmp_path)
    again = type(teacher).from_pretrained(tmp_path)
    assert torch.equal(run(again, inputs), told)
    assert sum(one.numel() for one in again.parameters()) == sum(one.numel() for one in type(teacher)(found.config).parameters())
    known = {float(number) for weight in teacher.state_dict().values() for number in weight.flatten()}
    assert all(float(number) in known for weight in found.state_dict().values() for number in weight.flatten()[:50])


def test_parameters_by_hand():
    teacher, _ = made_models.bert()
    count = sum(one.numel() for one in teacher.parameters())
    layer = 4 * (24 * 24 + 24) + 2 * 24 * 40 + 40 + 24 + 4 * 24
    assert count - sum(one.numel() for one in smaller(teacher, depth=0.5).parameters()) == 3 * layer
    assert count - sum(one.numel() for one in smaller(teacher, width=0.6).parameters()) == 6 * 16 * (2 * 24 + 1)


def test_whisper_keeps_its_encoder_and_ties():
    teacher, inputs = made_models.whisper()
    teacher.generation_config.alignment_heads = [[0, 1], [3, 2], [5, 0]]
    found = student(teacher, Student(layers=(0, 5)))
    assert (found.config.encoder_layers, found.config.decoder_layers) == (6, 2)
    assert torch.equal(
        run(found.model.encoder, {"input_features": inputs["input_features"]}), run(teacher.model.encoder, {"input_features": inputs["input_features"]})
    )
    assert found.proj_out.weight is found.model.decoder.embed_tokens.weight
    assert found.generation_config.alignment_heads == [[0, 1], [1, 0]]
    found.generate(inputs["input_features"], max_new_tokens=2)
    teacher.model.decoder.layers = torch.nn.ModuleList([teacher.model.decoder.layers[0], teacher.model.decoder.layers[5]])
    torch.testing.assert_close(run(found, {**inputs, "use_cache": False}), run(teacher, {**inputs, "use_cache": False}))


def test_importance_by_data():
    """First order against the loss with each head or unit really gated; the stream's variance against numpy's."""
    teacher, inputs = made_models.bert()
    found = by_data(teacher, [inputs], lambda output: output.last_hidden_state.square().mean())
    states = torch.stack(teacher(**inputs, output_hidden_states=True).hidden_states)
    torch.testing.assert_close(found.stream, states.detach().flatten(0, -2).var(0, correction=0), atol=1e-4, rtol=1e-3)
    teacher.double()

    def loss(where, part, gate):
        weight = teacher.get_submodule(where).weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.unflatten(1, (-1, part[1]))[:, part[0]] *= gate
            value = teacher(**inputs).last_hidden_state.square().mean()
            weight.copy_(kept)
        return float(value)

    for where, own, size in (
        ("encoder.layer.3.attention", "encoder.layer.3.attention.output.dense", 6),
        ("encoder.layer.3", "encoder.layer.3.output.dense", 1),
    ):
        for number in (0, 2):
            slope = (loss(own, (number, size), 1 + 1e-4) - loss(own, (number, size), 1 - 1e-4)) / 2e-4
            assert float(found.inside[where][number]) == pytest.approx(abs(slope), rel=1e-2, abs=1e-6)


def test_importance_chooses():
    teacher, inputs = made_models.bert()
    by = by_data(teacher, [inputs], lambda output: output.last_hidden_state.square().mean())
    found = smaller(teacher, width=0.5, importance=by)
    best = by.inside["encoder.layer.0"].argsort(descending=True)[:24].sort().values
    assert torch.equal(found.encoder.layer[0].intermediate.dense.weight, teacher.encoder.layer[0].intermediate.dense.weight[best])


def test_what_cannot_be_made():
    teacher, _ = made_models.bert()
    for layers in ((0, 6), (3, 1), (1, 1), (-1, 2)):
        with pytest.raises(MmedgeError, match="does not fit a teacher with 6"):
            smaller(teacher, layers=layers)
    with pytest.raises(MmedgeError, match="no student can be made of a Linear"):
        student(torch.nn.Linear(2, 2), Student())


def test_layers_that_share_their_weights_are_refused():
    from transformers import AlbertConfig, AlbertModel

    teacher = AlbertModel(AlbertConfig(num_hidden_layers=6, hidden_size=24, num_attention_heads=4, intermediate_size=40, vocab_size=30, embedding_size=8))
    with pytest.raises(MmedgeError, match="AlbertModel has 0 lists of layers"):
        smaller(teacher, depth=0.5)


def test_what_has_no_known_place_is_refused():
    """MPNet has one bias for each head, shared by all layers, whose choices of heads may differ."""
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(num_hidden_layers=2, hidden_size=24, num_attention_heads=4, intermediate_size=40, vocab_size=30, max_position_embeddings=17)
    teacher = MPNetModel(config)
    assert smaller(teacher, depth=0.5).config.num_hidden_layers == 1
    with pytest.raises(MmedgeError, match=r"relative_attention_bias.* is not known how to make it") as told:
        smaller(teacher, residual=0.5)
    assert "give depth alone" in told.value.fix


def test_sizes_that_a_network_does_not_take():
    """wav2vec 2.0 cuts its stream into groups."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    sizes = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 40}
    convolutions = {"conv_dim": (8,), "conv_stride": (2,), "conv_kernel": (2,), "num_feat_extract_layers": 1}
    teacher = Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions, num_conv_pos_embedding_groups=8, num_conv_pos_embeddings=4))
    assert smaller(teacher, depth=0.5).config.num_hidden_layers == 1
    with pytest.raises(MmedgeError, match=r"no Wav2Vec2Model is this small: .*divisible by groups"):
        smaller(teacher, residual=0.5)


def test_layers_of_different_sizes_are_refused():
    from transformers import SwinConfig, SwinModel

    teacher = SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 2], window_size=2))
    with pytest.raises(MmedgeError, match="the layers of a SwinModel are not all of one shape"):
        smaller(teacher, depth=0.5)
