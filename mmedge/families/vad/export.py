"""Silero VAD is ONNX already: find the file, see that it is the right one of its kind, and record what it should say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from mmedge.errors import MmedgeError
from mmedge.families.vad import CHUNK, CONTEXT, RATE_HZ, STATE_SHAPE, Config, Options
from mmedge.family import Allow, Case, Exported, Media, OnnxGraph
from mmedge.processors.audio import load_sound
from mmedge.processors.resample import resample
from mmedge.tensors import Array

FILE = "silero_vad_openvino_16k.onnx"
GOLDEN_CHUNK = 20
"""In the middle of the golden question: the state is not zero any more."""


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``vad``: input float32 [1, 576] at 16 kHz, state float32 [2, 1, 128] -> output float32 [1, 1] (probability), stateN as state.

    Raises:
        MmedgeError: the folder lacks the file, or it is another variant of the model.
    """
    path = folder / FILE
    if not path.is_file():
        raise MmedgeError(f"{folder} holds no {FILE}", "take it from the package silero-vad, folder silero_vad/data")
    try:
        evaluator = ReferenceEvaluator(onnx.load(path))
    except Exception as error:  # protobuf and onnx raise many kinds for a damaged file
        raise MmedgeError(f"{path} is not an ONNX model: {error}", "get an undamaged copy") from error
    if evaluator.input_names != ["input", "state"] or evaluator.output_names != ["output", "stateN"]:
        raise MmedgeError(f"{path} is another variant: its inputs are {', '.join(evaluator.input_names)}", "use the file of that name from silero-vad 6.2")
    samples, rate_hz = load_sound(media["question"])
    probabilities, feeds = _reference(evaluator, resample(samples, rate_hz, RATE_HZ))
    case = Case(
        "verb", "probabilities", {"sound": "@question"}, probabilities, source=f"onnx {onnx.__version__} reference evaluator, chunk by chunk", atol=1e-3
    )
    return Exported(graphs={"vad": OnnxGraph(path, feeds[GOLDEN_CHUNK])}, assets={}, config=Config(), cases=[case])


def _reference(evaluator: ReferenceEvaluator, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[dict[str, Array]]]:
    """(probabilities, feeds) of every chunk, the last one filled up with zeros."""
    count = -(-len(samples) // CHUNK)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples, np.zeros(count * CHUNK - len(samples), np.float32)])
    state = np.zeros(STATE_SHAPE, np.float32)
    probabilities: list[float] = []
    feeds: list[dict[str, Array]] = []
    for begin in range(0, count * CHUNK, CHUNK):
        feeds.append({"input": padded[None, begin : begin + CONTEXT + CHUNK], "state": state})
        outputs = [np.asarray(output) for output in evaluator.run(None, feeds[-1])]
        probabilities.append(float(outputs[0][0, 0]))
        state = outputs[1]
    return np.asarray(probabilities, np.float32), feeds
