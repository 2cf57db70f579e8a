"""optimum-intel, on the same graph: its class for tasks of one's own reads ONNX."""

import os

import nncf
import transformers
from optimum import intel
from quantize_peer import FEEDS, GRAPH, OUT, answer, feeds


def optimum(config, calibrated, **options):
    folder = OUT / "source"
    folder.mkdir()
    os.link(GRAPH, folder / "model.onnx")
    transformers.BertConfig().save_pretrained(folder)  # it wants a config, and looks at nothing in it
    made = intel.OVModelForCustomTasks.from_pretrained(folder, from_onnx=True, compile=False)
    setting = intel.OVConfig(quantization_config=getattr(intel, config)(**options))
    data = nncf.Dataset(list(feeds())) if calibrated else None
    intel.OVQuantizer.from_pretrained(made).quantize(calibration_dataset=data, ov_config=setting, save_directory=OUT / "saved")
    for suffix in (".xml", ".bin"):
        os.replace(OUT / "saved" / f"openvino_model{suffix}", OUT / f"model{suffix}")


STATIC = {"bits": 8, "num_samples": len(FEEDS)}
WAYS = {
    "static": lambda: optimum("OVQuantizationConfig", True, **STATIC),
    "static, smooth 0.6": lambda: optimum("OVQuantizationConfig", True, smooth_quant_alpha=0.6, **STATIC),
    "weights int8": lambda: optimum("OVWeightQuantizationConfig", False, bits=8),
    "weights int4": lambda: optimum("OVWeightQuantizationConfig", False, bits=4, group_size=128, ratio=1.0, sym=False),
}

answer(WAYS)
