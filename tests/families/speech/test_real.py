"""Whisper tiny.en with its real weights, as the shipped assistant hears with it."""

import pytest

from mmedge.build.load import checkpoint
from mmedge.bundle import Bundle
from mmedge.families.speech import Options
from mmedge.families.speech.whisper.cases import reference_tokens
from mmedge.families.speech.whisper.checkpoint import read_checkpoint
from mmedge.processors.audio import load_sound
from mmedge.recipe import Recipe

pytestmark = pytest.mark.full

TEXTS = {"question": "Is there a cat in the picture?", "remark": "Thank you. I will look at it again tomorrow."}


def test_the_real_model_says_in_every_window_what_it_says_in_transformers(assistant_bundle):
    bundle = Bundle.open(assistant_bundle)
    theirs = read_checkpoint(checkpoint(Recipe.load(bundle.manifest.name).models["ears"], offline=False, trace=print), Options())
    assert {case.args["sound"][1:]: case.expected for case in bundle.manifest.models["ears"].cases if case.call == "transcribe"} == TEXTS
    with bundle.session("ears", "cpu") as session:
        for name, text in TEXTS.items():
            sound = bundle.file(bundle.manifest.media[name])
            samples, _ = load_sound(sound)
            reference = reference_tokens(theirs, samples, 100)
            for window_s in (10, 30):
                decoded, no_speech = session.recogniser.listen(samples, window_s)
                assert list(decoded.tokens) == reference and decoded.avg_logprob > -0.3 and no_speech < 0.3
            assert session.transcribe(sound) == text
