"""Encoders, fusions, the dual encoder, and their checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.full  # torch and transformers take seconds to import

FUSIONS = ("concat", "weighted_sum", "deep", "cross_attention")


def feeds(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 258, (batch, 12), generator=generator)
    mask = (torch.arange(12)[None] < torch.tensor([12, 7, 4])[:batch, None]).long()
    return {
        "image": {"pixel_values": torch.randn(batch, 3, 32, 32, generator=generator)},
        "text": {"input_ids": ids, "attention_mask": mask},
        "audio": {"input_features": torch.randn(batch, 16, 50, generator=generator)},
    }


def changed(name, given, rows):
    """``given`` with other content of one modality in these rows, NaN where that can be."""
    made = {key: value.clone() for key, value in given[name].items()}
    for value in made.values():
        if value.is_floating_point():
            value[rows] = float("nan")
    if "input_ids" in made:
        made["input_ids"][rows] = 77
    return {**given, name: made}


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_what_is_missing_has_no_influence(fusion):
    from checkpoints.fusion import LABELS, small

    model, given = small(fusion), feeds()
    present = torch.ones(3, 3, dtype=torch.bool)
    whole = model(given, present)
    assert whole.logits.shape == (3, len(LABELS)) and whole.joint.shape[0] == 3 and set(whole.alone) == {"image", "text", "audio"}
    assert torch.equal(model(given).logits, whole.logits)
    for at, name in enumerate(given):
        without = present.clone()
        without[1, at] = False
        found = model(given, without).logits
        torch.testing.assert_close(found[[0, 2]], whole.logits[[0, 2]])
        assert (found[1] - whole.logits[1]).abs().max() > 1e-3
        assert torch.equal(model(changed(name, given, 1), without).logits[1], found[1])
        left = {other: one for other, one in given.items() if other != name}
        torch.testing.assert_close(model(left).logits[1], found[1])


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_filling_of_a_text_has_no_influence(fusion):
    from checkpoints.fusion import small

    model, given = small(fusion, modalities=("image", "text")), {name: feeds()[name] for name in ("image", "text")}
    cut = {"image": {"pixel_values": given["image"]["pixel_values"][2:]}, "text": {name: value[2:, :4] for name, value in given["text"].items()}}
    torch.testing.assert_close(model(given).logits[2:], model(cut).logits, atol=1e-5, rtol=1e-5)


def test_missing_rows_train():
    """A text without a token in its mask, and a modality that is missing: gradients stay finite."""
    from checkpoints.fusion import small

    for fusion in FUSIONS:
        model, given = small(fusion), feeds()
        given["text"]["attention_mask"][1] = 0
        model.train()(given, torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1]]).bool()).logits.sum().backward()
        assert all(value.grad is None or torch.isfinite(value.grad).all() for value in model.parameters())


def test_all_missing_is_refused():
    from checkpoints.fusion import small

    from mmedge.errors import MmedgeError

    model = small("concat")
    with pytest.raises(MmedgeError, match="every modality is missing"):
        model({})
    with pytest.raises(MmedgeError, match="of a sample is missing") as caught:
        model(feeds(), torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1]]).bool())
    assert caught.value.fix == "give one of: image, text, audio"


def test_weights_of_the_sum_are_shared_by_what_is_there():
    from mmedge.nets.fusing import Encoded, WeightedSum

    fusion = WeightedSum(3, 2)
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([0.0, 1.0, 2.0]))
    items = [Encoded(torch.tensor([[value, 1.0]]), torch.empty(0)) for value in (1.0, 10.0, 100.0)]
    joint, _ = fusion(items, torch.tensor([[True, False, True]]))
    first, third = np.exp([0, 2]) / np.exp([0, 2]).sum()
    np.testing.assert_allclose(joint.detach()[0], [first + 100 * third, 1], rtol=1e-5)


@torch.no_grad()
def test_a_layer_of_cross_attention_is_torchs_decoder_layer():
    from checkpoints import spread

    from mmedge.nets.fusing import Layer

    ours, theirs = spread(Layer(16, 4, 0.0), scale=1.0), torch.nn.TransformerDecoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    for attention, own in ((theirs.self_attn, ours.within), (theirs.multihead_attn, ours.across)):
        for part in ("weight", "bias"):
            getattr(attention, f"in_proj_{part}").copy_(torch.cat([getattr(one, part) for one in (own.query, own.key, own.value)]))
            getattr(attention.out_proj, part).copy_(getattr(own.out, part))
    for layer, own in zip(
        (theirs.linear1, theirs.linear2, theirs.norm1, theirs.norm2, theirs.norm3), (ours.feed_forward[0], ours.feed_forward[3], *ours.norms)
    ):
        layer.load_state_dict(own.state_dict())
    states, others = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    hidden, others_hidden = torch.arange(5)[None] >= torch.tensor([[5], [3]]), torch.arange(7)[None] >= torch.tensor([[4], [7]])
    wanted = theirs(states, others, tgt_key_padding_mask=hidden, memory_key_padding_mask=others_hidden)
    found = ours(states, hidden.float() * -1e4, others, others_hidden.float() * -1e4)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encoders_are_transformers_own(tmp_path):
    import transformers
    from checkpoints import spread

    from mmedge.nets.encoders import pretrained

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    bert = spread(transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=258, max_position_embeddings=40, **sizes)))
    whisper = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 20}
    whisper |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    ears = spread(
        transformers.WhisperForConditionalGeneration(
            transformers.WhisperConfig(**whisper, num_mel_bins=16, max_source_positions=25, encoder_ffn_dim=8, decoder_ffn_dim=8)
        )
    )
    eyes = spread(transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **sizes)))
    given = feeds()
    for name, model, states in (
        ("text", bert, lambda: bert.bert(**given["text"]).last_hidden_state),
        ("audio", ears, lambda: ears.model.encoder(**given["audio"]).last_hidden_state),
        ("image", eyes, lambda: eyes(**given["image"]).last_hidden_state),
    ):
        model.save_pretrained(tmp_path / name)
        encoder = pretrained(tmp_path / name, pooling="first" if name == "image" else "mean")
        found, wanted = encoder(**given[name]), states()
        torch.testing.assert_close(found.tokens, wanted)
        rows = [range(12), range(7), range(4)] if name == "text" else [range(wanted.shape[1])] * 3
        pooled = wanted[:, 0] if name == "image" else torch.stack([state[list(row)].mean(0) for state, row in zip(wanted, rows)])
        torch.testing.assert_close(found.pooled, pooled)
        assert encoder.width == 16


def test_bytes_are_told_apart():
    from tokenizers import Tokenizer

    from mmedge.nets.encoders import byte_tokenizer

    made = Tokenizer.from_buffer(byte_tokenizer())
    for text in ("A frog.", "青蛙。", "", "\n\x00 🐸"):
        ids = made.encode(text).ids
        assert len(ids) == 1 + len(text.encode()) and ids[0] == 1 and made.decode(ids) == text
    assert made.get_vocab_size() == 258


@torch.no_grad()
def test_a_mixed_cosine_is_the_mean_of_both_spaces(tmp_path):
    from checkpoints.dual_encoder import make_trained

    model, given = make_trained(tmp_path, conse=0.5), feeds(2)
    image, text = model(given["image"], given["text"])
    pooled = {name: model.encode(name, given[name]).pooled for name in ("image", "text")}
    trained = model.project("image", pooled["image"]) @ model.project("text", pooled["text"]).T
    # ConSE as its paper has it: the ten likeliest classes' names, weighted by their probabilities.
    tower = model.towers["image"]
    chances = tower.encoder.network(given["image"]["pixel_values"]).softmax(-1).numpy()
    rows = np.stack([sum(row[at] * tower.classes[at].numpy() for at in np.argsort(-row)[:10]) for row in chances])
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (rows, pooled["text"].numpy())]
    np.testing.assert_allclose((image @ text.T).numpy(), (trained.numpy() + 0.5 * unit[0] @ unit[1].T) / 1.5, atol=1e-5)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))


def test_conse_needs_a_classifier():
    from checkpoints.fusion import ENCODERS

    from mmedge.errors import MmedgeError
    from mmedge.nets.multimodal import DualEncoder
    from mmedge.nets.multimodal_config import DualEncoderConfig

    with pytest.raises(MmedgeError, match="a classifier"):
        DualEncoder(DualEncoderConfig(image=ENCODERS["image"], text=ENCODERS["text"], conse=0.5))


@pytest.mark.parametrize("kind", ["fusion", "dual"])
@torch.no_grad()
def test_a_checkpoint_comes_back(kind, tmp_path):
    from checkpoints.dual_encoder import make_trained
    from checkpoints.fusion import make_fusion

    from mmedge.nets.multimodal_checkpoint import load_checkpoint, tokenizer_of

    model, given = make_fusion(tmp_path) if kind == "fusion" else make_trained(tmp_path, similarity="sigmoid"), feeds(2)
    again = load_checkpoint(tmp_path)
    found, wanted = ((one(given).logits,) if kind == "fusion" else one(given["image"], given["text"]) for one in (again, model))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted)) and again.config == model.config
    assert tokenizer_of(tmp_path) and sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_checkpoint_is_read_strictly(tmp_path):
    from checkpoints.fusion import make_fusion
    from safetensors.torch import load_file, save_file

    from mmedge.errors import MmedgeError
    from mmedge.family import Allow
    from mmedge.nets.multimodal_checkpoint import load_checkpoint, save_checkpoint, tokenizer_of

    model = make_fusion(tmp_path, complete=False, fusion="concat")
    weights, told = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())

    def refused(said, content=weights, config=told):
        save_file(content, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(MmedgeError, match=said) as caught:
            load_checkpoint(tmp_path)
        assert "\n" not in caught.value.what + caught.value.fix

    key = "joint.fusion.missing"
    refused("lacks weights of MmedgeFusion: joint.fusion.missing", {name: value for name, value in weights.items() if name != key})
    refused("has not: surplus", {**weights, "surplus": torch.zeros(1)})
    refused("of another shape: joint.fusion.missing", {**weights, key: torch.zeros(3, 2)})
    refused("NaN", {**weights, key: torch.full_like(weights[key], float("nan"))})
    refused("unknown key colour", config={**told, "colour": 1})
    refused("neither a MmedgeDualEncoder nor", config={**told, "architectures": ["BertModel"]})
    refused("fusion: Input should be", config={**told, "fusion": "sum"})
    refused("at least two labels", config={**told, "labels": ["one"]})
    refused("matching is between", config={**told, "head": "match"})
    for name, network, prepared, said in (
        ("image", {"image_size": 64}, {}, r"prepared as \(32, 32\), and the network takes \(64, 64\)"),
        ("image", {}, {"resize": None}, "prepared as None"),
        ("text", {}, {"length": 65}, "cut to 65 tokens, and the network takes 64"),
        ("audio", {}, {"window_s": 1.0}, r"prepared as \(16, 100\), and the network takes \(16, 50\)"),
        ("audio", {"model_type": "wav2vec2"}, {}, "not wav2vec2"),
    ):
        one = told[name]
        other = {"network": {**one["network"], "config": {**one["network"]["config"], **network}}, "prepared": {**one["prepared"], **prepared}}
        refused(said, config={**told, name: other})
    kind = {"kind": "transformers", "config": {"model_type": "perceptron"}, "pooling": "mean"}
    refused("'perceptron', which transformers", config={**told, "text": {**told["text"], "network": kind}})
    refused("cannot make that bert", config={**told, "text": {**told["text"], "network": {**kind, "config": {"model_type": "bert", "hidden_size": "wide"}}}})

    save_file({name: value for name, value in weights.items() if name != key}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(told))
    allow = Allow(weights=True)
    load_checkpoint(tmp_path, allow)
    assert allow.accepted == {"MmedgeFusion": {"made up": {"count": 1, "names": [key]}}}
    with pytest.raises(MmedgeError, match=r"no tokenizer\.json"):
        tokenizer_of(tmp_path)
    with torch.no_grad():
        model.joint.fusion.missing.fill_(float("inf"))
    with pytest.raises(MmedgeError, match="NaN or infinity"):
        save_checkpoint(tmp_path / "new", model)
    assert not (tmp_path / "new").exists()
