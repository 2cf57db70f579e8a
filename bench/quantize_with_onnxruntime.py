"""onnxruntime.quantization."""

from quantize_peer import GRAPH, NOTES, OUT, answer, feeds


def preprocessed():
    """The graph as the documentation wants it first; without its inference of symbolic shapes where that fails, and as it is where the rest does."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = OUT / "preprocessed.onnx"
    for options in ({"auto_merge": True}, {"skip_symbolic_shape": True}):
        try:
            quant_pre_process(GRAPH, str(path), **options)
        except Exception as error:
            NOTES.append(f"quant_pre_process fails with {next(iter(options))} ({type(error).__name__})")
        else:
            return str(path)
    return GRAPH


def dynamic(per_channel, kind, types=None):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(preprocessed(), str(OUT / "model.onnx"), op_types_to_quantize=types, per_channel=per_channel, weight_type=QuantType[kind])


def static(method, activations="QUInt8", types=None, extra=None):
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        left = feeds()

        def get_next(self):
            return next(self.left, None)

    quantization.quantize_static(
        preprocessed(),
        str(OUT / "model.onnx"),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=types,
        per_channel=True,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod[method],
        extra_options=extra or {},
    )


def blocks(bits):
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    tool = MatMulNBitsQuantizer(onnx.load(GRAPH), bits=bits, block_size=32, is_symmetric=True, accuracy_level=4)
    tool.process()
    tool.model.save_model_to_file(str(OUT / "model.onnx"), False)


PRODUCTS = ["MatMul", "Gemm"]
WAYS = {
    "dynamic": lambda: dynamic(False, "QUInt8"),
    "dynamic, per channel": lambda: dynamic(True, "QInt8"),
    "static minmax": lambda: static("MinMax"),
    "static percentile": lambda: static("Percentile"),
    "static entropy": lambda: static("Entropy"),
    "static minmax, S8S8": lambda: static("MinMax", "QInt8"),
    "static minmax, products": lambda: static("MinMax", types=PRODUCTS, extra={"MatMulConstBOnly": True}),
    "static percentile, products": lambda: static("Percentile", types=PRODUCTS, extra={"MatMulConstBOnly": True}),
    "static entropy, products": lambda: static("Entropy", types=PRODUCTS, extra={"MatMulConstBOnly": True}),
    "blocks of 4 bits": lambda: blocks(4),
    "blocks of 8 bits": lambda: blocks(8),
}

answer(WAYS)
