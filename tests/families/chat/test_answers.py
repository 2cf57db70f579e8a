"""Every architecture, token for token against transformers' own ``generate``; and what breaks that."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from checkpoints.chat import CHECKPOINTS, TEMPLATE
from checks import distinct, graph_drift, on_one_thread

from mmedge.families.chat import Config
from mmedge.families.chat.export import generate
from mmedge.families.chat.session import Session
from mmedge.generate.decode import Sampling, decode
from mmedge.runner import Candidate, Copied, Engine, load_backend
from mmedge.target import Target

pytestmark = pytest.mark.full

PROMPTS = ([3, 200, 77, 41, 150, 9, 260], [12], [250, 5, 5, 88], list(range(20, 60)), [131, 7])
FORMS = ("language", "language-scatternd", "language-tensorscatter")
TOKENS = 20


def open_session(bundle, backend="ort", form="language"):
    model = bundle.manifest.models["chat"]
    target = Target.load("intel-cpu" if backend == "openvino" else "cpu")
    runner = load_backend(backend).open(Engine(Candidate(bundle.graph("chat", form), "fp32")), target)
    assets = {name: bundle.file(file) for name, file in model.assets.items()}
    return Session({"language": runner}, assets, Config(**model.config))


@pytest.fixture(autouse=True)
def _unguarded(monkeypatch):
    """A random model may repeat itself; the reference has no guard against it."""
    on_one_thread()
    monkeypatch.setattr("mmedge.generate.decode.loops", lambda tokens: False)


@pytest.fixture(scope="module", params=CHECKPOINTS)
def made(request, small_bundle, tmp_path_factory):
    """(architecture, bundle, what transformers says to each prompt)."""
    model = CHECKPOINTS[request.param](tmp_path_factory.mktemp("checkpoint"))
    said = [_generate(model, prompt) for prompt in PROMPTS]
    assert distinct(said), "five inputs must give five outputs, or parity proves nothing"
    assert all(len(set(answer)) > 5 for answer in said)
    return request.param, small_bundle(request.param), said


def _generate(model, prompt, stop=299):
    with mock.patch("mmedge.generate.decode.loops", return_value=False):
        return generate(model, [stop], prompt)


def answers(session):
    return [list(decode(session.step(), prompt, stop=frozenset([299]), sampling=Sampling(max_tokens=TOKENS)).tokens) for prompt in PROMPTS]


def test_tokens_are_those_of_generate(made):
    _, bundle, said = made
    assert answers(open_session(bundle)) == said


def runs(architecture, backend, form):
    """One architecture is enough for TensorScatter, which OpenVINO does not read; the reference evaluator is slow, and two of them have every operator."""
    first = architecture == "LlamaForCausalLM"
    return (first and backend != "openvino" if form == FORMS[2] else True) and (backend != "ref" or first or architecture == "Qwen3ForCausalLM")


@pytest.mark.parametrize(
    ("made", "backend", "form"),
    [one for one in itertools.product(CHECKPOINTS, ("ort", "openvino", "ref"), FORMS) if runs(*one)],
    indirect=["made"],
)
def test_every_form_is_its_module_on_every_backend(made, backend, form):
    assert graph_drift(made[1], "chat", form, backend) <= 1


@pytest.fixture(scope="module")
def llama(small_bundle, tmp_path_factory):
    model = CHECKPOINTS["LlamaForCausalLM"](tmp_path_factory.mktemp("checkpoint"))
    return small_bundle("LlamaForCausalLM"), [_generate(model, prompt) for prompt in PROMPTS], model


@pytest.mark.parametrize(("backend", "form"), [("ort", FORMS[1]), ("ort", FORMS[2]), ("openvino", FORMS[0]), ("openvino", FORMS[1])])
def test_both_forms_of_the_cache_say_the_same(llama, backend, form):
    bundle, said, _ = llama
    assert answers(open_session(bundle, backend, form)) == said


class Broken:
    """A runner whose cache is wrong in one way."""

    def __init__(self, runner, how):
        self._runner, self._how, self.reuses_outputs = runner, how, False
        self.inputs, self.outputs = runner.inputs, runner.outputs

    def run(self, feeds):
        return self._runner.run(self._how(dict(feeds)))

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


def shifted(feeds):
    """Keys against values: both shifted alike are the same to attention."""
    return {name: np.roll(array, 1, axis=2) if name.startswith("past_key") else array for name, array in feeds.items()}


def forgetful(feeds):
    """The cache lacks its first row, and every position is off by one."""
    return {name: np.ascontiguousarray(array[:, :, 1:]) if name.startswith("past_") else array for name, array in feeds.items()}


def permuted(feeds):
    return {**feeds, "input_ids": np.ascontiguousarray(feeds["input_ids"][:, ::-1])}


def swapped(feeds):
    return {**feeds, "past_key_0": feeds["past_value_0"], "past_value_0": feeds["past_key_0"]}


def heads_exchanged(feeds):
    return {name: np.ascontiguousarray(array[:, ::-1]) if name.startswith("past_") else array for name, array in feeds.items()}


@pytest.mark.parametrize("how", [shifted, forgetful, permuted, swapped, heads_exchanged])
def test_parity_would_notice(llama, how):
    bundle, said, _ = llama
    session = open_session(bundle)
    session._language = Broken(session._language, lambda feeds: feeds)
    assert answers(session) == said, "the wrapper itself changes nothing"
    session._language = Broken(session._language._runner, how)
    assert answers(session) != said


def test_a_prompt_at_once_or_in_parts_gives_the_same(llama):
    """Two lengths of past and of new tokens, against the module without any cache."""
    bundle, _, model = llama
    prompt = PROMPTS[3]
    with torch.no_grad():
        whole = model(torch.tensor([prompt])).logits[0].numpy()
    step = open_session(bundle).step()
    at = 0
    for length in (7, 1, 20, len(prompt) - 28):
        logits = step(np.array(prompt[at : at + length]))
        at += length
        np.testing.assert_allclose(logits, whole[at - 1], atol=1e-4)


def test_it_answers_messages_as_transformers_would(llama, tmp_path):
    """Template, tokens, answer and text: nothing of ours in the reference."""
    from transformers import AutoTokenizer

    CHECKPOINTS["LlamaForCausalLM"](tmp_path)
    bundle, _, model = llama
    session, tokenizer = open_session(bundle), AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template == TEMPLATE
    talks = [
        [{"role": "user", "content": "Hello, how are you?"}],
        [{"role": "user", "content": "你好, 猫"}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}],
    ]
    for talk in talks:
        ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        assert session.prompt(talk) == ids[0].tolist()
        told = []
        answer = session.chat(talk, sampling=Sampling(max_tokens=TOKENS), on_text=told.append)
        expected = tokenizer.decode(_generate(model, ids[0].tolist(), stop=1), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert answer == expected == "".join(told)
    assert session.chat("Hello, how are you?", sampling=Sampling(max_tokens=TOKENS)) == session.chat(talks[0], sampling=Sampling(max_tokens=TOKENS))
    assert answer != session.chat(talks[0], sampling=Sampling(max_tokens=TOKENS))


def test_a_seed_is_an_answer(llama):
    session = open_session(llama[0])
    how = [Sampling(max_tokens=TOKENS, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (session.chat("Hello", sampling=sampling) for sampling in how)
    assert first == same != other
