"""NVIDIA's ModelOpt: ONNX with Q/DQ pairs by its own rules for TensorRT, made on a machine without a GPU."""

from modelopt.onnx.quantization import quantize
from quantize_peer import FEEDS, GRAPH, OUT, answer, feeds


class Reader:
    """As ModelOpt asks for calibration feeds: one at a time, from the beginning as often as it likes."""

    def __init__(self):
        self.rewind()

    def rewind(self):
        self._feeds = feeds()

    def get_next(self):
        return next(self._feeds, None)

    def get_first(self):
        return next(feeds())

    def __len__(self):
        return len(FEEDS)


def made(mode, method, **options):
    quantize(
        GRAPH,
        quantize_mode=mode,
        calibration_data_reader=Reader(),
        calibration_method=method,
        calibration_eps=["cpu"],
        output_path=str(OUT / "model.onnx"),
        **options,
    )


WAYS = {
    "int8 entropy": lambda: made("int8", "entropy"),
    "int8 max": lambda: made("int8", "max"),
    "int8 entropy, rest in fp32": lambda: made("int8", "entropy", high_precision_dtype="fp32"),
    "int4 rtn": lambda: made("int4", "rtn_dq", block_size=64),
}

answer(WAYS)
