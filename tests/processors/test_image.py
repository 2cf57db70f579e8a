from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedge.errors import MmedgeError
from mmedge.processors.image import MAX_PIXELS, load_image
from mmedge.processors.pixels import ImageProcessor, ImageSettings

GOLDEN = Path(__file__).parents[2] / "mmedge" / "golden"
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (7, 5, 3), np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_all_forms_of_one_picture_are_equal(tmp_path):
    data = encoded(Image.fromarray(COLOURS))
    (tmp_path / "picture.png").write_bytes(data)
    for form in (tmp_path / "picture.png", str(tmp_path / "picture.png"), data, Image.fromarray(COLOURS), COLOURS):
        pixels = load_image(form)
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, COLOURS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    turned = Image.fromarray(COLOURS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # How a viewer must turn the stored pixels, by the TIFF 6.0 specification: where row 0 and column 0 of the stored picture lie.
    upright = [COLOURS, COLOURS[:, ::-1], COLOURS[::-1, ::-1], COLOURS[::-1], COLOURS.transpose(1, 0, 2), COLOURS.transpose(1, 0, 2)[:, ::-1]]
    upright += [COLOURS[::-1, ::-1].transpose(1, 0, 2), COLOURS.transpose(1, 0, 2)[::-1]]
    np.testing.assert_array_equal(load_image(encoded(turned, exif=exif)), upright[orientation - 1])


def test_grey_pictures_get_three_equal_channels():
    grey = COLOURS[:, :, 0]
    wanted = np.repeat(grey[:, :, None], 3, 2)
    for form in (encoded(Image.fromarray(grey)), grey, grey[:, :, None], Image.fromarray(grey).convert("P")):
        np.testing.assert_array_equal(load_image(form), wanted)
    ones = load_image(encoded(Image.fromarray(grey > 127)))
    np.testing.assert_array_equal(ones[:, :, 0], (grey > 127) * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_range(kind):
    grey = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    wanted = [0, 0, 1, 128, 255]
    assert load_image(encoded(Image.fromarray(grey), kind))[0, :, 0].tolist() == wanted
    assert load_image(grey)[0, :, 0].tolist() == wanted


def test_transparency_is_laid_on_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 128, 255
    for form in (encoded(Image.fromarray(pixels)), pixels):
        assert load_image(form)[0, :, 0].tolist() == [255, 127, 0]
    palette = Image.fromarray(COLOURS).convert("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert load_image(encoded(palette, transparency=palette.getpixel((0, 0))))[0, 0].tolist() == [255, 255, 255]
    faded = Image.fromarray(np.array([[[0, 128]]], np.uint8), "LA")
    assert load_image(faded)[0, 0].tolist() == [127, 127, 127]


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert load_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0].tolist() == [255, 0, 0]


def bomb(width, height):
    """A PNG of a few bytes that claims to be huge."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("picture", "what"),
    [
        (b"RIFF....WAVEfmt ", "is not a picture"),
        (b"", "is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not a picture"),
        (bomb(30_000, 30_000), "million pixels"),
        (bomb(9_000, 9_000), "million pixels"),
        (bomb(10, 10), "damaged"),
        (encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)))[:500], "damaged"),
        (encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")[:500], "damaged"),
        (Image.new("F", (2, 2)), "floating-point"),
        (np.zeros((4, 4, 3), np.float32), "is not a picture"),
        (np.zeros((4, 4, 2), np.uint8), "is not a picture"),
        (np.zeros((0, 4, 3), np.uint8), "is not a picture"),
    ],
)
def test_what_is_no_picture(picture, what):
    with pytest.raises(MmedgeError, match=what):
        load_image(picture)


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(MmedgeError, match="cannot be read"):
            load_image(path)
    (tmp_path / "sound.wav").write_bytes((GOLDEN / "question.wav").read_bytes())
    with pytest.raises(MmedgeError, match=r"sound\.wav is not a picture"):
        load_image(tmp_path / "sound.wav")


def test_the_limit_lets_real_cameras_through():
    assert MAX_PIXELS > 50_000_000


PICTURES = {
    "photograph": lambda: Image.open(GOLDEN / "cat.jpg"),
    "upright": lambda: Image.open(GOLDEN / "coffee.jpg").transpose(Image.Transpose.ROTATE_90),
    "grey": lambda: Image.open(GOLDEN / "cat.jpg").convert("L"),
    "transparent": lambda: _faded(),
    "panorama": lambda: Image.open(GOLDEN / "coffee.jpg").crop((0, 50, 320, 95)),
    "tiny": lambda: Image.open(GOLDEN / "cat.jpg").resize((9, 7)),
}


def _faded():
    picture = Image.open(GOLDEN / "cat.jpg").convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


CONFIGS = {
    "clip": ("CLIPImageProcessorPil", {}),
    "clip 336, bilinear": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, "resample": 2}),
    "clip, crop larger than the picture": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 50}, "crop_size": {"height": 65, "width": 64}}),
    "clip, neither rescaled nor normalised": ("CLIPImageProcessorPil", {"do_rescale": False, "do_normalize": False}),
    "siglip": ("SiglipImageProcessorPil", {}),
    "siglip, Lanczos, not square": ("SiglipImageProcessorPil", {"size": {"height": 96, "width": 160}, "resample": 1}),
}


@pytest.mark.full
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("picture", PICTURES)
def test_equal_to_transformers(config, picture, tmp_path):
    """Bit for bit, to its Pillow-based processors; those that need torchvision resample otherwise and are not installed here."""
    import transformers

    kind, options = CONFIGS[config]
    theirs = getattr(transformers, kind)(**options)
    theirs.save_pretrained(tmp_path)
    import json

    settings = ImageSettings.from_preprocessor(json.loads((tmp_path / "preprocessor_config.json").read_text()))
    expected = theirs(PICTURES[picture](), return_tensors="np")["pixel_values"]
    ours = ImageProcessor(settings)([PICTURES[picture]()])
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, expected)
    # No key but the kind: the defaults are the same too, unless options differ.
    if not options:
        assert ImageSettings.from_preprocessor({"image_processor_type": kind}) == settings


def test_old_configurations_with_plain_numbers():
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3}
    assert ImageSettings.from_preprocessor(old) == ImageSettings.from_preprocessor({"image_processor_type": "CLIPImageProcessor"})


@pytest.mark.parametrize("config", [{"do_pad": True}, {"size": {"longest_edge": 5}}, {"size": {"shortest_edge": 5, "longest_edge": 9}}])
def test_configurations_that_ask_for_more(config):
    with pytest.raises(MmedgeError):
        ImageSettings.from_preprocessor(config)


def test_a_batch_and_pictures_that_do_not_fit_together():
    processor = ImageProcessor(ImageSettings(resize=(8, 6)))
    assert processor([COLOURS, GOLDEN / "cat.jpg"]).shape == (2, 3, 8, 6)
    with pytest.raises(MmedgeError, match="different sizes"):
        ImageProcessor(ImageSettings(shortest_edge=8))([COLOURS, GOLDEN / "cat.jpg"])
    with pytest.raises(MmedgeError, match="too long and narrow"):
        ImageProcessor(ImageSettings(shortest_edge=1000))([np.zeros((1, 70_000, 3), np.uint8)])


@pytest.mark.full
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["CLIPImageProcessorPil", "SiglipImageProcessorPil", "ChineseCLIPImageProcessorPil"])
def test_turned_pictures_are_those_that_transformers_loads(kind, orientation, tmp_path):
    """Its ``load_image`` obeys EXIF, its processors do not."""
    import transformers
    from transformers.image_utils import load_image as load_as_transformers

    picture = Image.open(GOLDEN / "coffee.jpg")
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.jpg", exif=exif)
    theirs = getattr(transformers, kind)()
    ours = ImageProcessor(ImageSettings.from_preprocessor(theirs.to_dict()))([tmp_path / "turned.jpg"])
    np.testing.assert_array_equal(ours, theirs(load_as_transformers(str(tmp_path / "turned.jpg")), return_tensors="np")["pixel_values"])
