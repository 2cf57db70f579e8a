"""The builder's half of the stand-in for standard TensorRT, which works only beside an NVIDIA GPU. What it has and refuses in which version follows NVIDIA's
documents: it proves which calls are made for which version, never that TensorRT takes them.
"""

from __future__ import annotations

import enum
import sys
import types
from types import SimpleNamespace

from backends.tensorrt import stand_in
from backends.tensorrt.stand_in_context import ILogger, Severity

WEAK_FLAGS = ("FP16", "INT8", "BF16", "FP8", "INT4")
"""Removed in 11.0 (tensorrt-10x-to-11x)."""


class IProgressMonitor:
    pass


class Buffer(bytes):
    """IHostMemory."""

    @property
    def nbytes(self):
        return len(self)


class Calls:
    """What the product did with the module, and what the module answers."""

    def __init__(self, layers, engines, driver):
        self.layers = layers
        """Types of the network's layers, as the parser makes them of the graph."""
        self.engines = list(engines)
        """What each build gives, in order: bytes, None (TensorRT's way to fail), or an exception."""
        self.driver = driver
        self.builds = []
        """For each build: strongly typed or not, flags that are set, workspace in bytes, profiles, verbosity."""
        self.steps = 6
        self.before_step = lambda step: None


def install(monkeypatch, version, *, layers=("FLOAT",), engines=(b"engine",), driver=True, weak=WEAK_FLAGS):
    """Put a stand-in in the place of the module ``tensorrt``, and nothing in that of CUDA. Returns its ``Calls``."""
    calls = Calls(layers, engines, driver)
    trt = types.ModuleType("tensorrt")
    for one in stand_in.CLASSES:
        setattr(trt, one.__name__, one)
    flags = ["TF32", "REFIT", *(weak if int(version.partition(".")[0]) < 11 else ())]
    vars(trt).update(
        __version__=version,
        IProgressMonitor=IProgressMonitor,
        Builder=lambda logger: Builder(calls, logger),
        OnnxParser=lambda network, logger: Parser(calls, network),
        NetworkDefinitionCreationFlag=enum.IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}),
        BuilderFlag=enum.Enum("BuilderFlag", flags),
        MemoryPoolType=enum.Enum("MemoryPoolType", ["WORKSPACE"]),
    )
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return calls


class Builder:
    def __init__(self, calls, logger):
        assert isinstance(logger, ILogger)
        if not calls.driver:  # the C++ factory returns nullptr
            logger.log(Severity.ERROR, "createInferBuilder: Error Code 6: API Usage Error (CUDA initialization failure with error: 35)")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._calls, self._logger = calls, logger

    def create_network(self, flags):
        return Network(bool(flags & 2))

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        asked = {"strongly": network.strongly, "flags": sorted(config.flags), "workspace": config.workspace}
        self._calls.builds.append(SimpleNamespace(**asked, profiles=config.profiles, verbosity=config.profiling_verbosity))
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, self._calls.steps)
        for step in range(self._calls.steps):
            self._calls.before_step(step)
            if not monitor.step_complete("Building engine", step):
                return None
        monitor.phase_finish("Building engine")
        made = self._calls.engines.pop(0)
        if isinstance(made, Exception):
            raise made
        if made is None:
            self._logger.log(Severity.ERROR, "Error Code 10: Internal Error (Could not find any implementation for node)")
            return None
        self._logger.log(Severity.WARNING, "a warning of the builder")
        if config.cache is not None:
            config.cache.content += b"+measured"
        return Buffer(made)


class Network:
    def __init__(self, strongly):
        self.strongly, self.layers, self.inputs, self.outputs = strongly, [], [], []

    num_layers = property(lambda self: len(self.layers))
    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_layer(self, index):
        return self.layers[index]

    def get_input(self, index):
        return self.inputs[index]

    def get_output(self, index):
        return self.outputs[index]


class Parser:
    """Takes every file for one input and one output, and gives it the layers that it was told."""

    num_errors = 0

    def __init__(self, calls, network):
        self._calls, self._network = calls, network

    def parse_from_file(self, path):
        network = self._network
        network.inputs, network.outputs = [_tensor("x", "FLOAT")], [_tensor("y", "FLOAT")]
        for kind in self._calls.layers:
            tensor = _tensor("", kind)
            network.layers.append(SimpleNamespace(type=SimpleNamespace(name="MATRIX_MULTIPLY"), num_outputs=1, get_output=lambda index, tensor=tensor: tensor))
        return True


def _tensor(name, kind):
    return SimpleNamespace(name=name, dtype=SimpleNamespace(name=kind))


class Config:
    def __init__(self):
        self.flags, self.workspace, self.profiles, self.cache = {"TF32"}, None, [], None
        self.profiling_verbosity = self.progress_monitor = None

    def set_flag(self, flag):
        self.flags.add(flag.name)

    def clear_flag(self, flag):
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool, size_bytes):
        self.workspace = size_bytes

    def add_optimization_profile(self, profile):
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, content):
        return None if content == b"damaged" else SimpleNamespace(content=content)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if cache.content.startswith(b"another device"):
            return False
        cache.serialize = lambda: Buffer(cache.content)
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, likeliest, largest):
        self.shapes[name] = (least, likeliest, largest)
