from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmedge
from mmedge.errors import MmedgeError
from mmedge.processors.patches import PatchProcessor, PatchSettings, fitting

GOLDEN = Path(mmedge.__file__).parent / "golden"
NOISE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)


def faded():
    picture = Image.open(GOLDEN / "cat.jpg").convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


PICTURES = {
    "photograph": lambda: Image.open(GOLDEN / "cat.jpg"),
    "upright": lambda: Image.open(GOLDEN / "coffee.jpg").transpose(Image.Transpose.ROTATE_90),
    "panorama": lambda: Image.open(GOLDEN / "coffee.jpg").crop((0, 50, 320, 60)),
    "tiny": lambda: Image.open(GOLDEN / "cat.jpg").resize((9, 7)),
    "grey": lambda: Image.open(GOLDEN / "cat.jpg").convert("L"),
    "transparent": faded,
    "square": lambda: Image.fromarray(NOISE),
}


@pytest.mark.full
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("options", [{}, {"patch_size": 14, "max_num_patches": 65, "resample": 3}, {"do_normalize": False, "do_rescale": False}])
def test_equal_to_transformers(name, options):
    """Bit for bit, and the mask and shapes too."""
    import transformers

    theirs = transformers.Siglip2ImageProcessorPil(do_convert_rgb=True, **options)
    expected = theirs(PICTURES[name](), return_tensors="np")
    ours = PatchProcessor(PatchSettings.from_preprocessor(theirs.to_dict()))([PICTURES[name]()])
    assert ours["pixel_values"].dtype == np.float32
    for part in ("pixel_values", "pixel_attention_mask", "spatial_shapes"):
        np.testing.assert_array_equal(ours[part], expected[part])


@pytest.mark.full
def test_turned_by_exif_and_in_a_batch(tmp_path):
    import transformers
    from transformers.image_utils import load_image

    picture = Image.open(GOLDEN / "coffee.jpg")
    exif = picture.getexif()
    exif[0x0112] = 8
    picture.save(tmp_path / "turned.jpg", exif=exif)
    pictures = [load_image(str(tmp_path / "turned.jpg")), Image.open(GOLDEN / "cat.jpg")]
    expected = transformers.Siglip2ImageProcessorPil()(pictures, return_tensors="np")
    ours = PatchProcessor(PatchSettings())([tmp_path / "turned.jpg", GOLDEN / "cat.jpg"])
    for part, wanted in expected.items():
        np.testing.assert_array_equal(ours[part], wanted)
    assert len({tuple(shape) for shape in ours["spatial_shapes"].tolist()}) == 2


def test_patches_fit():
    for height, width in ((1, 1), (480, 640), (10, 4000), (3000, 20)):
        down, right = fitting(height, width, 16, 256)
        assert 1 <= down * right <= 256 and (down >= right) == (height >= width)
    assert fitting(500, 500, 16, 256) == (16, 16)


def test_settings():
    assert PatchSettings.from_preprocessor({}) == PatchSettings()
    with pytest.raises(MmedgeError, match="not resized"):
        PatchSettings.from_preprocessor({"do_resize": False})
