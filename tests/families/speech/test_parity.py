"""The session over the export's own modules, token for token against transformers' generate, in both forms of the cache; and broken on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from checks import distinct

from mmedge.families.speech import Options
from mmedge.families.speech.moonshine import export as moonshine
from mmedge.families.speech.whisper.cases import reference_tokens
from mmedge.families.speech.whisper.checkpoint import read_checkpoint
from mmedge.family import Allow
from mmedge.nets.checkpoint import load

pytestmark = pytest.mark.full

TOKENS = 20
KINDS = ("whisper", "moonshine")


@pytest.fixture(scope="module", autouse=True)
def _no_guards():
    """A random model stammers; what is compared here is the arithmetic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmedge.generate.decode.loops", lambda tokens: False)
        yield


@pytest.fixture(scope="module")
def uneven(sounds):
    """Five sounds of five lengths."""
    return [samples[: 16_000 - 1_777 * index] for index, samples in enumerate(sounds)]


@pytest.fixture(scope="module")
def expected(folders, uneven):
    """Kind -> what transformers' own generate says of them."""

    def whisper():
        checkpoint = read_checkpoint(folders("whisper"), Options())
        return [reference_tokens(checkpoint, samples, TOKENS) for samples in uneven]

    def of_moonshine():
        model = load("MoonshineForConditionalGeneration", folders("moonshine"), Allow())
        config = moonshine.read_config(folders("moonshine"), model, Options(), tokenizer=True)
        return [moonshine.reference_tokens(model, config, samples, TOKENS + 1) for samples in uneven]

    found = {"whisper": whisper(), "moonshine": of_moonshine()}
    for tokens in found.values():
        assert distinct(tokens), "a model that ignores its input proves nothing"
        assert all(len(set(one)) >= 5 for one in tokens)
    assert not any({10, 11, 12} & set(tokens) for tokens in found["whisper"])
    assert not any(tokens[0] == 20 for tokens in found["whisper"])
    return found


def heard(session, sounds):
    return [session.tokens((samples, 16_000), TOKENS) for samples in sounds]


@pytest.mark.parametrize("scatter", [None, "ScatterND"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_equal_generate(torch_session, expected, uneven, kind, scatter):
    session, _ = torch_session(kind, scatter)
    assert heard(session, uneven) == expected[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_mutation_sound_zeroed(torch_session, expected, uneven, kind):
    session, runners = torch_session(kind)
    run = runners["encoder"].run
    runners["encoder"].run = lambda feeds: run({name: np.zeros_like(value) for name, value in feeds.items()})
    assert heard(session, uneven) != expected[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_mutation_features_zeroed(torch_session, expected, uneven, kind):
    session, runners = torch_session(kind)
    run = runners["encoder"].run
    runners["encoder"].run = lambda feeds: {name: np.zeros_like(value) for name, value in run(feeds).items()}
    assert heard(session, uneven) != expected[kind]


@pytest.mark.parametrize("scatter", [None, "ScatterND"])
@pytest.mark.parametrize("kind", KINDS)
def test_mutation_cache_shifted_by_one(torch_session, expected, uneven, kind, scatter):
    session, runners = torch_session(kind, scatter)
    run = runners["decoder"].run
    runners["decoder"].run = lambda feeds: run({name: np.roll(value, 1, axis=2) if name.startswith("past_key") else value for name, value in feeds.items()})
    assert heard(session, uneven) != expected[kind]


def test_mutation_positions_permuted(torch_session, expected, uneven):
    session, runners = torch_session("whisper")
    for module in (runners["decoder"].module.body.decoder, runners["encoder"].module.encoder):
        before = module.embed_positions.weight.data
        module.embed_positions.weight.data = before.flip(0)
        try:
            assert heard(session, uneven) != expected["whisper"]
        finally:
            module.embed_positions.weight.data = before


def test_mutation_positions_turned_the_other_way(torch_session, expected, uneven):
    session, runners = torch_session("moonshine")
    for module in (runners["decoder"].module.body.decoder, runners["encoder"].module.encoder):
        before = module.rotary_emb.inv_freq
        module.rotary_emb.inv_freq = before.flip(0)
        try:
            assert heard(session, uneven) != expected["moonshine"]
        finally:
            module.rotary_emb.inv_freq = before


def test_likelihoods_equal_torch(torch_session, checkpoint, uneven, expected):
    session, _ = torch_session("whisper")
    model, config = checkpoint.model, checkpoint.config
    features = torch.from_numpy(session.features((uneven[0], 16_000)))
    with torch.no_grad():
        logits = model(features, decoder_input_ids=torch.tensor([[*config.prompt, *expected["whisper"][0]]])).logits[0]
    at = len(config.prompt) - 1
    logits[at:, list(config.suppress)] = -torch.inf
    scores = logits.clone()
    scores[at, list(config.suppress_first)] = -torch.inf
    chosen = scores[at:-1].log_softmax(-1).gather(-1, torch.tensor(expected["whisper"][0])[:, None])
    decoded, no_speech = session.recogniser.listen(uneven[0], 2, TOKENS)
    assert decoded.avg_logprob == pytest.approx(float(chosen.mean()), abs=1e-4)
    assert no_speech == pytest.approx(float(logits[0].softmax(-1)[config.no_speech]), abs=1e-5)
