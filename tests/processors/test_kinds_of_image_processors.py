"""BLIP's, ViT's, DeiT's, BEiT's, CLIP's and ViLT's image processors against transformers' own, on pictures that processors get wrong."""

import numpy as np
import pytest
from pictures import five, odd
from PIL import Image

from mmedge.errors import MmedgeError
from mmedge.processors.image import load_image
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.processors.shortest_edge import ShortestEdgeProcessor, ShortestEdgeSettings

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.full  # transformers alone takes seconds to import

KINDS = {
    "Blip": {},
    "ViT": {"size": {"height": 48, "width": 40}},
    "DeiT": {},
    "DeiT without a crop": {"size": {"height": 96, "width": 96}, "do_center_crop": False},
    "Beit": {},
    "CLIP": {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}},
}


def theirs(processor, path):
    """From transformers' own reader, which turns pictures as EXIF says; transparency goes as its BLIP does it, for those that do not do it themselves."""
    image = transformers.image_utils.load_image(str(path))
    raw = Image.open(path)
    if "A" in raw.getbands():
        image = transformers.image_transforms.convert_to_rgb(raw) if not processor.do_convert_rgb else raw
    return processor(images=image, return_tensors="np")


@pytest.mark.parametrize("said", ["everything", "the least"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_equal_transformers(tmp_path, kind, said):
    """The least that a file says is its kind and what differs from the kind's defaults."""
    processor = getattr(transformers, f"{kind.split()[0]}ImageProcessorPil")(**KINDS[kind])
    file = processor.to_dict()
    if said == "the least":
        file = {"image_processor_type": file["image_processor_type"], **{key: file[key] for key in KINDS[kind]}}
    make = ImageProcessor(ImageSettings.from_preprocessor(file))
    for name, path in odd(tmp_path).items():
        np.testing.assert_array_equal(make([path]), theirs(processor, path)["pixel_values"], err_msg=name)


@pytest.mark.parametrize("settings", [{"size": {"shortest_edge": 64}, "size_divisor": 16}, {}], ids=["small", "as published"])
def test_vilt_equals_transformers(tmp_path, settings):
    processor = transformers.ViltImageProcessorPil(**settings)
    make = ShortestEdgeProcessor(ShortestEdgeSettings.from_preprocessor(processor.to_dict()))
    for name, path in odd(tmp_path).items():
        if name == "grey":
            continue  # below, as RGB: transformers gives one channel
        wanted = theirs(processor, path)
        found = make([path])
        for key in ("pixel_values", "pixel_mask"):
            np.testing.assert_array_equal(found[key], wanted[key], err_msg=f"{name} {key}")
    pictures = [Image.fromarray(load_image(picture)) for picture in [*five(), odd(tmp_path)["grey"]]]
    wanted, found = processor(images=pictures, return_tensors="np"), make(pictures)
    assert found["pixel_mask"].min() == 0, "the smaller ones are filled up"
    for key in ("pixel_values", "pixel_mask"):
        np.testing.assert_array_equal(found[key], wanted[key])


def test_sizes_equal_transformers():
    """Where each rounding may move a picture by one patch."""
    from transformers.models.vilt.image_processing_pil_vilt import get_resize_output_image_size

    from mmedge.processors.shortest_edge import _target

    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 3000, (300, 2)):
        wanted = get_resize_output_image_size(np.empty((3, height, width), np.uint8), 384, int(1333 / 800 * 384), 32, input_data_format="channels_first")
        assert _target(int(height), int(width), 384, 32) == wanted


def test_vilt_refusals():
    with pytest.raises(MmedgeError, match="of a kind mmedge does not know"):
        ShortestEdgeSettings.from_preprocessor({"size": {"height": 8, "width": 8}})
    make = ShortestEdgeProcessor(ShortestEdgeSettings.from_preprocessor({"size": {"shortest_edge": 64}}))
    with pytest.raises(MmedgeError, match="too long and narrow"):
        make([np.zeros((4, 4000, 3), np.uint8)])
