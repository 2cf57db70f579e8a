from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedge import hub
from mmedge.errors import MmedgeError
from mmedge.recipe import Recipe

torch = pytest.importorskip("torch")
from mmedge.nets.efficientnet_lite import EfficientNetLite0, SameConv, load_efficientnet_lite0  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "mmedge" / "golden"


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (8, 5, 2), (7, 5, 2), (8, 3, 1), (6, 5, 1), (5, 1, 1)])
def test_padding_is_tensorflows(size, kernel, stride):
    """ONNX kept TensorFlow's "SAME" as auto_pad SAME_UPPER."""
    import onnxruntime
    from onnx import TensorProto, helper

    conv = SameConv(4, 4, kernel, stride, groups=4, bias=False)
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", kernel_shape=[kernel] * 2, strides=[stride] * 2, group=4)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "w", "y")]
    model = helper.make_model(helper.make_graph([node], "same", info[:2], info[2:]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = np.random.default_rng(0).normal(size=(1, 4, size, size + 1)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x, "w": conv.weight.detach().numpy()})[0]
    np.testing.assert_allclose(conv(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-5)


def test_has_the_published_number_of_parameters():
    assert sum(weight.numel() for weight in EfficientNetLite0().parameters()) == 4_652_008  # "4.7M" in Google's table, and what the checkpoint holds


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."])
def test_files_that_are_no_checkpoint(content, tmp_path):
    """The last one would run a program if it were unpickled."""
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(MmedgeError, match="no EfficientNet-Lite0 checkpoint"):
        load_efficientnet_lite0(tmp_path / "weights.pth")


def test_a_checkpoint_of_another_net(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(MmedgeError, match="no EfficientNet-Lite0 checkpoint"):
        load_efficientnet_lite0(tmp_path / "weights.pth")


@pytest.mark.full
def test_names_what_photographs_show():
    """ImageNet's classes 281, 282, 285: tabby, tiger cat, Egyptian cat; 967: espresso."""
    from mmedge.families.dual_encoder.export import EFFICIENTNET
    from mmedge.processors.pixels import ImageProcessor

    file = Recipe.load("assistant-mini").models["eyes"].files["efficientnet_lite0.pth"]
    model = load_efficientnet_lite0(hub.fetch(file.sources[0], sha256=file.sha256))
    with torch.inference_mode():
        chances = model(torch.from_numpy(ImageProcessor(EFFICIENTNET)([GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg"]))).softmax(-1)
    assert float(chances[0, [281, 282, 285]].sum()) > 0.9
    assert int(chances[1].argmax()) == 967
