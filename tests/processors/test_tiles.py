import numpy as np
import pytest
from odd_pictures import NAMES, odd_pictures

from mmedge.errors import MmedgeError
from mmedge.processors.tiles import TileProcessor, TileSettings

SIDE = 32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["Idefics3", "SmolVLM"])
@pytest.mark.parametrize("longest", [SIDE, 2 * SIDE, 5 * SIDE], ids=["one", "four", "twenty-five"])
@pytest.mark.parametrize("split", [True, False], ids=["split", "whole"])
def test_tiles_are_those_of_transformers(tmp_path, name, kind, longest, split):
    """Bit for bit."""
    import transformers

    reference = getattr(transformers, f"{kind}ImageProcessorPil")(
        size={"longest_edge": longest}, max_image_size={"longest_edge": SIDE}, do_image_splitting=split, return_row_col_info=True
    )
    picture = odd_pictures(tmp_path)[name]
    expected = reference([[picture]], return_tensors="np")
    tiles = TileProcessor(TileSettings.from_preprocessor(reference.to_dict()))(picture)
    assert (tiles.rows, tiles.columns) == (expected["rows"][0][0], expected["cols"][0][0])
    np.testing.assert_array_equal(tiles.pixels, expected["pixel_values"][0])
    assert expected["pixel_attention_mask"].all(), "tiles are never filled up"


@pytest.mark.full
def test_the_real_sizes(tmp_path):
    import transformers

    settings = {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}, "resample": 1}
    reference = transformers.SmolVLMImageProcessorPil(**settings)
    picture = odd_pictures(tmp_path)["large"]
    tiles = TileProcessor(TileSettings.from_preprocessor(settings))(picture)
    assert (tiles.rows, tiles.columns) == (2, 4) and tiles.pixels.shape == (9, 3, 512, 512)
    np.testing.assert_array_equal(tiles.pixels, reference([[picture]], return_tensors="np")["pixel_values"][0])


def test_what_a_file_leaves_out_is_what_transformers_does(tmp_path):
    import transformers

    picture = odd_pictures(tmp_path)["tall"]
    expected = transformers.Idefics3ImageProcessorPil()([[picture]], return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(TileProcessor(TileSettings.from_preprocessor({}))(picture).pixels, expected)


def test_steps_left_out(tmp_path):
    import transformers

    settings = {"max_image_size": {"longest_edge": SIDE}, "do_normalize": False, "do_resize": False}
    picture = odd_pictures(tmp_path)["large"]
    expected = transformers.Idefics3ImageProcessorPil(**settings)([[picture]], return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(TileProcessor(TileSettings.from_preprocessor(settings))(picture).pixels, expected)


def test_settings_of_another_kind_are_refused():
    with pytest.raises(MmedgeError, match="no longest_edge"):
        TileSettings.from_preprocessor({"size": {"height": 224, "width": 224}})


def test_a_picture_too_long_to_cut_is_refused():
    settings = TileSettings.from_preprocessor({"do_resize": False, "max_image_size": {"longest_edge": 512}})
    with pytest.raises(MmedgeError, match="too long and narrow"):
        TileProcessor(settings)(np.zeros((2, 200_000, 3), np.uint8))
