"""What quantizing a model might find, with made figures of the sizes that are met: for tests of what shows it."""

from __future__ import annotations

from mmedge.manifest import Quantized
from mmedge.rated import Budget, Choice, Interval, Loss, Rated

IMAGE = {  # name: metric, lost, low, high; ratio, MB, memory; precision, Pareto
    "openvino nncf-transformer": (0.606, 0.006, -0.002, 0.013, 0.31, 23.1, 96.0, "int8", True),
    "openvino bf16": (0.611, 0.001, -0.003, 0.004, 0.52, 87.6, 181.0, "bf16", True),
    "ort static-entropy": (0.607, 0.005, -0.001, 0.0095, 0.47, 24.9, 88.0, "int8", True),
    "ort static-minmax": (0.597, 0.015, 0.006, 0.026, None, 24.9, None, "int8", False),
    "openvino fp32": (0.612, 0.0, 0.0, 0.0, 0.86, 87.6, 176.0, "fp32", True),
    "ort dynamic": (0.609, 0.003, -0.002, 0.008, 0.61, 24.2, 85.0, "int8", True),
    "ort fp32": (0.612, 0.0, 0.0, 0.0, 1.0, 87.5, 161.0, "fp32", True),
    "ort static-percentile": (0.071, 0.541, 0.49, 0.58, None, 24.9, None, "int8", False),
    "openvino weights-int4": (0.594, 0.018, 0.009, 0.029, None, 13.6, None, "int4", False),
    "openvino weights-int8": (0.610, 0.002, -0.001, 0.006, 0.88, 23.0, 112.0, "int8", True),
}
TEXT = {
    "openvino bf16": (0.612, 0.0, -0.001, 0.002, 0.58, 90.1, 190.0, "bf16", True),
    "openvino fp32": (0.612, 0.0, 0.0, 0.0, 1.0, 90.1, 188.0, "fp32", False),
    "ort fp32": (0.612, 0.0, 0.0, 0.0, 0.97, 90.0, 170.0, "fp32", True),
    "ort dynamic": (0.603, 0.009, 0.001, 0.016, 0.66, 23.2, 84.0, "int8", True),
}
NOTES = {
    "ort static-entropy": "",
    "ort static-minmax": "R@1: +1.50 points lost (+0.60 to +2.60), 1 allowed",
    "ort static-percentile": "R@1: +54.10 points lost (+49.00 to +58.00), 1 allowed",
    "openvino weights-int4": "R@1: +1.80 points lost (+0.90 to +2.90), 1 allowed; 12 evaluations did not bring it back",
}
KEPT = {
    "ort static-entropy": ("/encoder/layers.11/mlp/fc2/MatMul", "/encoder/layers.0/self_attn/out_proj/MatMul", "/embeddings/patch/Conv"),
}


def made_rated(name, figures, base_ms=41.8, fp32=0.612) -> Rated:
    value, lost, low, high, ratio, mb, memory, precision, pareto = figures
    timed = (
        {}
        if ratio is None
        else {
            "ratio": Interval(value=ratio, low=ratio * 0.982, high=ratio * 1.021, n=24),
            "latency_ms": round(base_ms * ratio, 3),
            "memory_mb": memory,
        }
    )
    word = "lost" if lost > 0.01 else "undecided" if high > 0.01 else "kept"
    return Rated(
        name=name,
        backend=name.partition(" ")[0],
        precision=precision,
        passed=word != "lost",
        note=NOTES.get(name, "300 units are too few to tell, about 470 would do" if word == "undecided" else ""),
        metric=Interval(value=value, low=value - 0.055, high=value + 0.054, n=300),
        loss=Loss(metric="R@1", found=Interval(value=lost, low=low, high=high, n=300), allowed=0.01, word=word),
        kept_float=KEPT.get(name, ()),
        evaluations=5 if name in KEPT else 0,
        size_mb=mb,
        pareto=pareto,
        features=("avx512_vnni",) if precision == "int8" else (),
        **timed,
    )


def made_choice(figures, chosen, why, base_ms=41.8, refused=()) -> Choice:
    rated = [made_rated(name, each, base_ms) for name, each in figures.items()]
    rated += [Rated(name=name, backend=name.partition(" ")[0], precision="int4", passed=False, note=note) for name, note in refused]
    return Choice(chosen=chosen, why=why, rated=tuple(rated))


def made_quantized(*, budget=Budget()) -> Quantized:  # noqa: B008 -- frozen
    """An image-text model by its retrieval: two graphs."""
    graphs = {
        "image_encoder": made_choice(
            IMAGE,
            "openvino nncf-transformer",
            "the fastest of 7 that hold the gate: 3.23x as fast as ort fp32",
            refused=[("ort weights-int4", "MatMulNBits is for products with constant weights: the graph has none of 2 dimensions")],
        ),
        "text_encoder": made_choice(TEXT, "openvino bf16", "the fastest of 4 that hold the gate: 1.72x as fast as openvino fp32", base_ms=7.1),
    }
    return Quantized(
        task="retrieval",
        metric="R@1",
        higher_is_better=True,
        data="stamps",
        fingerprint="0" * 64,
        samples=300,
        setting={},
        fp32=Interval(value=0.612, low=0.557, high=0.667, n=300),
        whole=Interval(value=0.605, low=0.549, high=0.66, n=300),
        loss=Loss(metric="R@1", found=Interval(value=0.007, low=-0.002, high=0.014, n=300), allowed=0.01, word="undecided"),
        goal="latency",
        budget=budget,
        machine="Intel(R) Xeon(R) Processor, 2 cores, 24105 MB, Linux 6.18 x86_64, Python 3.11.7, onnxruntime 1.31.1, openvino 2026.4.1",
        graphs=graphs,
    )


def made_transcription() -> Quantized:
    """A recogniser by its word errors, on a target that is not here: no latency is known."""
    one = {
        "ort fp32": (0.062, 0.0, 0.0, 0.0, None, 33.1, None, "fp32", True),
        "tensorrt fp16": (0.062, 0.0, -0.001, 0.001, None, 16.6, None, "fp16", True),
        "tensorrt static-entropy": (0.068, 0.006, 0.001, 0.012, None, 9.4, None, "int8", True),
        "tensorrt weights-int4": (0.094, 0.032, 0.019, 0.046, None, 6.1, None, "int4", False),
    }
    other = {"ort fp32": one["ort fp32"], "tensorrt fp16": one["tensorrt fp16"]}
    why = "nothing is timed here: mmedge compile BUNDLE --target jetson --rechoose chooses on the board"
    graphs = {name: made_choice(figures, "tensorrt fp16", why) for name, figures in (("encoder", one), ("decoder", other))}
    return made_quantized().model_copy(
        update={
            "task": "transcription",
            "metric": "WER",
            "higher_is_better": False,
            "data": "clips",
            "fp32": Interval(value=0.062, low=0.048, high=0.079, n=120),
            "whole": Interval(value=0.063, low=0.049, high=0.08, n=120),
            "loss": Loss(metric="WER", found=Interval(value=0.001, low=-0.001, high=0.002, n=120), allowed=0.01, word="kept"),
            "graphs": graphs,
            "warnings": ("decoder was calibrated on golden data alone: the task never runs it so",),
        }
    )
