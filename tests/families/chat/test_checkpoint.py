"""What a checkpoint may lack or ask for."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoints.chat import CHECKPOINTS
from checkpoints.small_tokenizers import byte_level

from mmedge.build import golden
from mmedge.errors import MmedgeError
from mmedge.families.chat import Config, Options, lacks
from mmedge.families.chat.export import _limit, _stop, export
from mmedge.families.chat.session import Session
from mmedge.generate.decode import Sampling
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec

FULL = {"max_position_embeddings": 100}


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [
        ({}, 100),
        ({"sliding_window": 40}, 40),
        ({"sliding_window": None}, 100),
        ({"sliding_window": 4096}, 100),
        ({"sliding_window": 40, "layer_types": ["full_attention"] * 2}, 100),
        ({"sliding_window": 40, "layer_types": ["full_attention", "sliding_attention"]}, 40),
        ({"rope_parameters": {"rope_type": "llama3"}}, 100),
    ],
)
def test_texts_are_as_long_as_full_attention_is_right(sizes, limit, tmp_path):
    assert _limit(tmp_path, SimpleNamespace(**FULL, **sizes)) == limit


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"layer_types": ["full_attention", "chunked_attention"]}, "attends by chunked_attention, which a causal mask cannot express"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "turns positions by dynamic"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "turns positions by longrope"),
    ],
)
def test_attention_that_the_graph_cannot_express_is_refused(sizes, why, tmp_path):
    with pytest.raises(MmedgeError, match=why):
        _limit(tmp_path, SimpleNamespace(**FULL, **sizes))


def test_a_sliding_window_is_refused_where_a_longer_cache_is_asked_for(tmp_path):
    CHECKPOINTS["MistralForCausalLM"](tmp_path, complete=False, sliding_window=16)
    with pytest.raises(MmedgeError, match="takes 16 tokens at most") as caught:
        export(tmp_path, Options(context=17), golden.media())
    assert caught.value.fix == "make it 16 or less"
    exported = export(tmp_path, Options(), golden.media())
    assert exported.config.limit == 16
    assert exported.graphs["language"].fixed("ScatterND").inputs["past_key_0"].shape == (1, 2, 16, 16)


def test_stop_tokens_are_all_that_anybody_names(tmp_path):
    sizes = SimpleNamespace(eos_token_id=2, vocab_size=300)
    tokenizer = byte_level()
    assert _stop(tmp_path, sizes, tokenizer) == (2,)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 7, 9999]}))
    assert _stop(tmp_path, sizes, None) == (5, 7)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    assert _stop(tmp_path, sizes, tokenizer) == (1, 5, 7) and _stop(tmp_path, sizes, None) == (5, 7)
    (tmp_path / "generation_config.json").unlink()
    assert _stop(tmp_path, SimpleNamespace(eos_token_id=None, vocab_size=300), None) == ()


def test_without_a_tokenizer_there_are_graphs_and_no_words(tmp_path):
    CHECKPOINTS["LlamaForCausalLM"](tmp_path, complete=False)
    exported = export(tmp_path, Options(), golden.media())
    assert set(exported.graphs) == {"language"} and not exported.assets and not exported.cases and lacks(exported.config) == {"tokenizer": ("chat",)}
    session = Session({"language": Counting()}, {}, exported.config)
    with pytest.raises(MmedgeError, match="brought no tokenizer") as caught:
        session.chat("Hello")
    assert "add tokenizer.json" in caught.value.fix


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    CHECKPOINTS["LlamaForCausalLM"](tmp_path, vocab_size=40)
    with pytest.raises(MmedgeError, match="has 300 tokens and the model knows 40"):
        export(tmp_path, Options(), golden.media())


def test_a_template_with_a_date_gets_answers_to_tokens(tmp_path):
    CHECKPOINTS["LlamaForCausalLM"](tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ strftime_now('%d %B %Y') }}{{ messages[0].content }}")
    cases = export(tmp_path, Options(), golden.media()).cases
    assert {case.call for case in cases} == {"write_on"} and len(cases) == 3
    assert all(isinstance(case.args["tokens"], list) for case in cases)


class Counting:
    """Says 10, 11, 12, ...; holds ``length`` tokens, or any number."""

    reuses_outputs = False
    outputs = ()

    def __init__(self, length="past"):
        dims = (1, 1, length, 2)
        counter = () if isinstance(length, str) else (TensorSpec("past_length", "int64", (1,)),)
        self.inputs = (TensorSpec("input_ids", "int64", (1, "tokens")), TensorSpec("past_key_0", "float32", dims), *counter)
        self.said = 9

    def run(self, feeds):
        self.said += 1
        logits = np.zeros((1, 1, 300), np.float32)
        logits[0, 0, self.said] = 5
        past = feeds["past_key_0"]
        rows = feeds["input_ids"].shape[1] if "past_length" not in feeds else 0
        return {"logits": logits, "present_key_0": np.concatenate([past, np.zeros((1, 1, rows, 2), np.float32)], 2)}

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


@pytest.fixture
def talker(tmp_path):
    """A session without a template."""
    byte_level().save(str(tmp_path / "tokenizer.json"))

    def make(runner, limit=50, stop=()):
        config = Config(vocabulary=300, limit=limit, stop=stop, tokenizer=True, template=False)
        return Session({"language": runner}, {"tokenizer.json": tmp_path / "tokenizer.json"}, config)

    return make


def test_without_a_template_a_text_is_continued_and_messages_are_refused(talker):
    session = talker(Counting(), stop=(13,))
    assert session.prompt("Hello") == byte_level().encode("Hello").ids
    assert session.chat("Hello") == byte_level().decode([10, 11, 12])
    with pytest.raises(MmedgeError, match="no chat template") as caught:
        session.chat([{"role": "user", "content": "Hello"}])
    assert "chat_template.jinja" in caught.value.fix


@pytest.mark.parametrize("runner", [Counting(), Counting(length=20)])
def test_an_answer_ends_where_the_model_does(talker, runner):
    limit = 20 if runner.inputs[1].shape[2] == 20 else 30
    session, prompt = talker(runner, limit=30), [5] * 17
    assert session.write_on(prompt, sampling=Sampling(max_tokens=100)) == byte_level().decode(list(range(10, 10 + limit - 17)))
    for wrong in ([], [5] * limit):
        with pytest.raises(MmedgeError, match=f"{len(wrong)} tokens long; the model takes 1 to {limit - 1}"):
            session.write_on(wrong)
