import numpy as np
import pytest
from odd_pictures import NAMES, odd_pictures

from mmedge.errors import MmedgeError
from mmedge.processors.qwen_pixels import QwenProcessor, QwenSettings, smart_resize

SIZES = [{"shortest_edge": 32 * 32, "longest_edge": 64 * 64}, {"shortest_edge": 96 * 96, "longest_edge": 512 * 512}]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("patch", [8, 14])
def test_patches_are_those_of_transformers(tmp_path, name, size, patch):
    """Bit for bit."""
    import transformers

    reference = transformers.Qwen2VLImageProcessorPil(size=size, patch_size=patch)
    picture = odd_pictures(tmp_path)[name]
    expected = reference([picture], return_tensors="np")
    patches = QwenProcessor(QwenSettings.from_preprocessor(reference.to_dict()))(picture)
    assert [[1, patches.rows, patches.columns]] == expected["image_grid_thw"].tolist()
    np.testing.assert_array_equal(patches.pixels, expected["pixel_values"])


def test_what_a_file_leaves_out_is_what_transformers_does(tmp_path):
    import transformers

    picture = odd_pictures(tmp_path)["large"]
    expected = transformers.Qwen2VLImageProcessorPil()([picture], return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(QwenProcessor(QwenSettings.from_preprocessor({}))(picture).pixels, expected)


def test_older_names_of_the_bounds(tmp_path):
    settings = QwenSettings.from_preprocessor({"min_pixels": 1000, "max_pixels": 3000})
    assert (settings.min_pixels, settings.max_pixels) == (1000, 3000)
    assert QwenSettings.from_preprocessor({"size": {"shortest_edge": 65536, "longest_edge": 16777216}}, max_pixels=50_000).min_pixels == 50_000


def test_sizes_are_those_of_transformers():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as reference

    random = np.random.default_rng(0)
    for height, width in random.integers(1, 3000, (2000, 2)).tolist():
        if max(height, width) / min(height, width) <= 200:
            assert smart_resize(height, width, 32, 65536, 1 << 20) == reference(height, width, 32, 65536, 1 << 20)


def test_a_picture_too_narrow_is_refused():
    with pytest.raises(MmedgeError, match="too long and narrow"):
        QwenProcessor(QwenSettings.from_preprocessor({}))(np.zeros((2, 402, 3), np.uint8))


def test_pictures_that_keep_their_size_are_refused():
    with pytest.raises(MmedgeError, match="does not resize"):
        QwenSettings.from_preprocessor({"do_resize": False})
