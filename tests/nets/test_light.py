import pytest
import torch
import transformers
from checkpoints.chat import CHECKPOINTS

from mmedge.nets.cache import causal_mask, growing, positions
from mmedge.nets.causal import Causal
from mmedge.nets.light import Attention, lighten

IDS = torch.tensor([[5, 17, 200, 41, 8, 99, 3]])


@torch.no_grad()
def ours(whole):
    """In two parts, over a cache."""
    body, cache, logits = Causal(whole), None, []
    for begin, end in ((0, 4), (4, 7)):
        past = [torch.zeros(1, 2, 0, whole.config.head_dim if hasattr(whole.config, "head_dim") else 12)] * (2 * whole.config.num_hidden_layers)
        cache = cache or growing(past)
        logits.append(body({"input_ids": IDS[:, begin:end]}, cache, causal_mask(end - begin, end, begin), positions(end - begin, begin)))
    return torch.cat(logits, 1)[0]


BOTH = [name for name in CHECKPOINTS if name not in ("MistralForCausalLM", "Qwen2ForCausalLM")]
"""With and without biases; Qwen2 has them always, Mistral never."""


@pytest.mark.parametrize(("architecture", "changed"), [*((name, {}) for name in CHECKPOINTS), *((name, {"attention_bias": True}) for name in BOTH)], ids=str)
def test_a_lightened_model_computes_the_same(architecture, changed, tmp_path):
    whole = CHECKPOINTS[architecture](tmp_path, complete=False, **changed)
    with torch.no_grad():
        expected = whole(IDS).logits[0, [3, 6]]
    lighten(whole.model)
    assert isinstance(whole.model.layers[0].self_attn, Attention)
    torch.testing.assert_close(ours(whole), expected, rtol=0, atol=2e-5 * max(1.0, float(expected.abs().max())))
    assert float((expected[0] - expected[1]).abs().max()) > 0.1, "it depends on what it reads"


def test_a_model_of_another_making_stays_as_it_is():
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=20)
    other = transformers.GPT2Model(config)
    before = [name for name, _ in other.named_modules()]
    lighten(other)
    assert [name for name, _ in other.named_modules()] == before
