"""Whole sessions, over the exported graphs, against transformers' own processors and generate."""

import numpy as np
import pytest
import torch
from checkpoints.captioner import CHECKPOINTS
from checks import distinct, graph_drift
from pictures import five
from small_sessions import FORMS, only, opened, shifted, zeros

from mmedge.errors import MmedgeError
from mmedge.generate.decode import Sampling

pytestmark = pytest.mark.full
TWENTY = Sampling(max_tokens=20)


@pytest.fixture(scope="module", params=sorted(CHECKPOINTS))
def made(request, small_bundle, theirs):
    bundle = small_bundle(request.param)
    return bundle, theirs(bundle.path.with_name(f"{request.param}.checkpoint"))


@pytest.fixture(scope="module")
def expected(made):
    """What transformers says of five pictures."""
    return [made[1].caption(picture) for picture in five()]


def captions(bundle, **how):
    with opened(bundle, **how) as session:
        return [session.caption(picture, sampling=TWENTY) for picture in five()]


def test_the_reference_looks(made, expected):
    assert distinct(expected), "a model that ignores its input proves nothing"
    assert all(len(set(made[1].tokens(picture))) >= 4 for picture in five()), "one word over and over hardly tests a cache"


@pytest.mark.parametrize("form", FORMS)
def test_captions_equal_transformers(made, expected, form):
    assert captions(made[0], form=form) == expected


@pytest.mark.parametrize("form", FORMS[:2])
def test_captions_equal_transformers_on_openvino(made, expected, form):
    assert captions(made[0], form=form, backend="openvino") == expected


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
def test_graphs_equal_their_modules(made, backend):
    for name in made[0].manifest.models["captioner"].graphs:
        if name.endswith("tensorscatter") and backend != "ort":
            continue  # opset 24 has no other reader here
        assert graph_drift(made[0], "captioner", name, backend) <= 1.0


def test_a_batch_is_its_pictures_one_by_one(made):
    bundle, reference = made
    pixels = torch.cat([reference.pixels(picture) for picture in five()[:3]]).numpy()
    with opened(bundle) as session:
        together = session._encoder.run({"pixel_values": pixels})
        for index in range(3):
            alone = session._encoder.run({"pixel_values": pixels[index : index + 1]})
            for name, array in alone.items():
                np.testing.assert_allclose(together[name][index : index + 1], array, atol=1e-4)


def test_a_prompt_is_gone_on_from(made):
    bundle, reference = made
    ids = reference.words("a photo of", add_special_tokens=False).input_ids
    with opened(bundle) as session:
        start = list(session.config.start)
        if "Blip" in session.config.architecture:
            given = {"input_ids": reference.words("a photo of", return_tensors="pt").input_ids}  # generate replaces [CLS] and drops [SEP]
        else:
            given = {"decoder_input_ids" if "Decoder" in session.config.architecture else "input_ids": torch.tensor([start + ids])}
        wanted = reference.caption(five()[0], **given)
        pieces = []
        assert session.caption(five()[0], "a photo of", sampling=TWENTY, on_text=pieces.append) == wanted
        assert "".join(pieces) == wanted and len(pieces) > 5 and wanted.strip().startswith("a photo of")
        with pytest.raises(MmedgeError, match="the prompt has"):
            session.caption(five()[0], "a photo of " * 60)


def test_the_context_is_never_passed(made):
    """Of forty positions, beyond which a growing cache would read a position that does not exist."""
    for form in FORMS[:2]:
        with opened(made[0], form=form) as session:
            assert len(session.caption_tokens(five()[1])) <= session.config.context == 40


def test_mutation_picture_zeroed(made, expected):
    assert captions(made[0], wrap=only("image_encoder", out=zeros)) != expected


@pytest.mark.parametrize("form", FORMS[:2])
def test_mutation_cache_shifted_by_one(made, expected, form):
    assert captions(made[0], form=form, wrap=only("decoder", into=shifted)) != expected


def test_mutation_position_counted_wrong(made, expected):
    late = lambda name, array: array + 1 if name == "past_length" else array  # noqa: E731
    assert captions(made[0], form="-scatternd", wrap=only("decoder", into=late)) != expected


def test_mutation_positions_permuted(made, expected):
    """Of the picture's patches, in the reference: what was exported must no longer equal it."""
    bundle, reference = made
    (weight,) = [weight.data for name, weight in reference.model.named_parameters() if "position_embed" in name and {17, 18} & set(weight.shape)]
    before = weight.clone()
    try:
        weight.copy_(before.flip(-2))
        assert captions(bundle) != [reference.caption(picture) for picture in five()]
    finally:
        weight.copy_(before)
