"""LLaVA's pictures: CLIP's processor, and SigLIP's, on what is no photograph in landscape."""

import numpy as np
import pytest
from odd_pictures import NAMES, odd_pictures

from mmedge.processors.pixels import ImageProcessor, ImageSettings


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_pixels_are_those_of_transformers(tmp_path, name, kind):
    """Bit for bit."""
    import transformers

    sizes = {"size": {"shortest_edge": 36}, "crop_size": {"height": 36, "width": 36}} if kind == "CLIP" else {"size": {"height": 36, "width": 36}}
    reference = getattr(transformers, f"{kind}ImageProcessorPil")(**sizes)
    picture = odd_pictures(tmp_path)[name]
    ours = ImageProcessor(ImageSettings.from_preprocessor(reference.to_dict()))([picture])
    np.testing.assert_array_equal(ours, reference([picture], return_tensors="np")["pixel_values"])
