"""The session over the export's own modules, token for token against transformers' generate."""

import numpy as np
import pytest
import torch

from mmedge.families.speech.cases import reference_tokens
from mmedge.families.speech.session import Session

TOKENS = 20


pytestmark = pytest.mark.full  # each export to ONNX takes seconds


@pytest.fixture
def reference(checkpoint, sounds):
    return [tuple(reference_tokens(checkpoint, samples, TOKENS)) for samples in sounds]


@pytest.fixture
def session(torch_runners, folder, checkpoint):
    config = checkpoint.config.model_copy(update={"max_tokens": len(checkpoint.config.prompt) + TOKENS})
    return Session(torch_runners, {"tokenizer.json": folder / "tokenizer.json"}, config)


def heard(session, sounds):
    return [session.hear((samples, 16_000))[0].tokens for samples in sounds]


@pytest.fixture(autouse=True)
def _no_guards(monkeypatch):
    """A random model stammers; what is compared here is the arithmetic."""
    monkeypatch.setattr("mmedge.generate.decode.loops", lambda tokens: False)


def test_the_reference_listens(reference):
    assert len(set(reference)) == len(reference), "a model that ignores its input proves nothing"
    assert all(len(set(tokens)) >= 5 for tokens in reference)
    assert not any({10, 11, 12} & set(tokens) for tokens in reference)
    assert not any(tokens[0] == 20 for tokens in reference)


def test_tokens_equal_transformers(session, sounds, reference):
    assert heard(session, sounds) == reference


def test_likelihoods_equal_torch(session, checkpoint, sounds, reference):
    model, config = checkpoint.model, checkpoint.config
    features = torch.from_numpy(session.log_mel((sounds[0], 16_000), 2))
    with torch.no_grad():
        logits = model(features, decoder_input_ids=torch.tensor([[*config.prompt, *reference[0]]])).logits[0]
    at = len(config.prompt) - 1
    logits[at:, list(config.suppress)] = -torch.inf
    scores = logits.clone()
    scores[at, list(config.suppress_first)] = -torch.inf
    chosen = scores[at:-1].log_softmax(-1).gather(-1, torch.tensor(reference[0])[:, None])
    piece = session.hear((sounds[0], 16_000))[0]
    assert piece.avg_logprob == pytest.approx(float(chosen.mean()), abs=1e-4)
    assert piece.no_speech == pytest.approx(float(logits[0].softmax(-1)[config.no_speech]), abs=1e-5)


def test_mutation_features_zeroed(session, torch_runners, sounds, reference):
    run = torch_runners["encoder"].run
    torch_runners["encoder"].run = lambda feeds: run({"input_features": np.zeros_like(feeds["input_features"])})
    assert heard(session, sounds) != reference


def test_mutation_cache_shifted_by_one(session, torch_runners, sounds, reference):
    run = torch_runners["decoder"].run
    torch_runners["decoder"].run = lambda feeds: run(
        {name: np.roll(value, 1, axis=2) if name.startswith("past_key") else value for name, value in feeds.items()}
    )
    assert heard(session, sounds) != reference


def test_mutation_positions_permuted(session, torch_runners, sounds, reference):
    positions = torch_runners["decoder"].module.decoder.embed_positions
    before = positions.weight.data
    positions.weight.data = before.flip(0)
    try:
        assert heard(session, sounds) != reference
    finally:
        positions.weight.data = before


def test_mutation_positions_of_the_encoder_permuted(session, torch_runners, sounds, reference):
    positions = torch_runners["encoder"].module.encoder.embed_positions
    before = positions.weight.data
    positions.weight.data = before.flip(0)
    try:
        assert heard(session, sounds) != reference
    finally:
        positions.weight.data = before
