"""NNCF: models of OpenVINO."""

import nncf
import openvino
from quantize_peer import FEEDS, GRAPH, OUT, answer, feeds


def save(model):
    openvino.save_model(model, str(OUT / "model.xml"), compress_to_fp16=False)


def static(transformer, fast, preset="MIXED", smooth=None):
    advanced = nncf.AdvancedQuantizationParameters()
    if smooth is not None:
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=smooth)
    made = nncf.quantize(
        openvino.Core().read_model(GRAPH),
        nncf.Dataset(list(feeds())),
        preset=nncf.QuantizationPreset[preset],
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        fast_bias_correction=fast,
        subset_size=len(FEEDS),
        advanced_parameters=advanced,
    )
    save(made)


def weights(mode, **options):
    save(nncf.compress_weights(openvino.Core().read_model(GRAPH), mode=nncf.CompressWeightsMode[mode], **options))


WAYS = {
    "static, transformer": lambda: static(True, True),
    "static, transformer, full bias correction": lambda: static(True, False),
    "static, transformer, smooth 0.6": lambda: static(True, True, smooth=0.6),
    "static, mixed": lambda: static(False, True),
    "static, mixed, full bias correction": lambda: static(False, False),
    "static, performance": lambda: static(False, True, "PERFORMANCE"),
    "weights int8": lambda: weights("INT8_ASYM"),
    "weights int4": lambda: weights("INT4_ASYM", group_size=64, ratio=1.0),
    "weights int4, all layers": lambda: weights("INT4_ASYM", group_size=32, ratio=1.0, all_layers=True),
}

answer(WAYS)
