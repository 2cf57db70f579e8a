"""The ranges of activations on calibration data, by onnxruntime's calibrators: fed one sample at a time, since they hold all that each of them gives."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.optimize.made import Feeding
from mmedge.quantization import Static
from mmedge.tensors import Feeds

CLASSES = {"minmax": "MinMaxCalibrater", "percentile": "PercentileCalibrater", "entropy": "EntropyCalibrater"}


def ranges(model: Any, tensors: Collection[str], feeds: Feeding, options: Static, *, symmetric: bool = False) -> Any:
    """Measure ranges.

    Args:
        model: an ``onnx.ModelProto`` in fp32; it is not changed.
        tensors: names of the float tensors whose ranges are wanted.
        symmetric: around 0.

    Returns:
        onnxruntime's ``TensorsData``: by tensor, ``range_value`` is (lowest, highest).

    Raises:
        MmedgeError: there are no feeds, or a value is not finite.
    """
    onnx, tool = need("onnx", extra="build"), need("onnxruntime.quantization.calibrate", extra="build")
    with tempfile.TemporaryDirectory(prefix="mmedge-calibration-") as folder, contextlib.redirect_stdout(io.StringIO()):  # they print what they do
        path = Path(folder) / "graph.onnx"
        onnx.save(model, str(path))
        settings: dict[str, Any] = {"percentile": options.percentile} if options.ranges == "percentile" else {}
        calibrator = getattr(tool, CLASSES[options.ranges])(path, augmented_model_path=str(Path(folder) / "augmented.onnx"), symmetric=symmetric, **settings)
        wanted = [name for name in _floats(calibrator.model) if name in tensors]
        infos = _floats(calibrator.model)
        calibrator.select_tensors_to_calibrate = lambda _: (wanted, infos)  # its own choice is by operators, and takes in what attention multiplies
        calibrator.augment_graph()
        calibrator.create_inference_session()
        taken = 0
        for one in feeds():
            if stray := next((name for name, array in one.items() if array.dtype.kind == "f" and np.isnan(array).any()), None):
                raise MmedgeError(f"calibration sample {taken + 1} is not a number somewhere in {stray}", "look at that sample, or leave it out")
            calibrator.collect_data(_One(one))
            taken += 1
        if not taken:
            raise MmedgeError("there are no feeds to measure the ranges of activations on", "give calibration data: --data")
        found = calibrator.compute_data()
    for name in wanted:
        if not all(np.isfinite(bound).all() for bound in found[name].range_value):
            raise MmedgeError(f"the tensor {name} is not finite on the calibration data", "leave this method out for this graph, and check the data")
    return found


def _floats(model: Any) -> Mapping[str, Any]:
    """The float tensors that are computed or given, by name."""
    infos = {value.name: value for value in (*model.graph.value_info, *model.graph.output, *model.graph.input)}
    constants = {tensor.name for tensor in model.graph.initializer}
    return {name: value for name, value in infos.items() if value.type.tensor_type.elem_type == 1 and name not in constants}


class _One:
    """A reader of a single sample, as the calibrators want it."""

    def __init__(self, feeds: Feeds) -> None:
        self._left = [feeds]

    def get_next(self) -> Feeds | None:
        return self._left.pop() if self._left else None
