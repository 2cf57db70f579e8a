"""What a row of the error table (tests/deploy/test_error_table.py) brings about before its command is run. Each function here returns what changes a scene."""

from __future__ import annotations

import errno
import functools
import json
import os
import platform
import shutil
import sys

from backends.tensorrt import stand_in, stand_in_engine, stand_in_gpu
from system_tree import tree
from tampering import edit, grown, state

from mmedge.backends.tensorrt import device
from mmedge.bundle import MANIFEST, Bundle
from mmedge.deploy import doctor
from mmedge.deploy.push import push
from mmedge.deploy.releases import locked
from mmedge.deploy.remote import Remote
from mmedge.manifest import Placement

GRAPH = ("models", "eyes", "graphs", "image_encoder")
TARGET = 'schema = "mmedge.target/1"\nname = "mine"\nsummary = ""\nbackends = ["ort"]\nmax_opset = 18\nmax_ir = 10\n'


class Scene:
    """``toy.bundle`` in the current folder, compiled for ``cpu``, and a board that is there once it is asked for."""

    def __init__(self, request, folder, bundle, patch, stack):
        self.folder, self.bundle, self.patch, self.stack = folder, bundle, patch, stack
        self._request, self._board = request, None

    @property
    def board(self):
        """A board whose mmedge says yes to all that it is asked."""
        if self._board is None:
            self._board = self._request.getfixturevalue("board")
            self._board.answers(self.bundle)
        return self._board

    def here(self):
        """Every file of this side: the bundle, the cache, and whatever else there is."""
        home = f"{self._board.home.name}/" if self._board else "\0"
        return {name: content for name, content in state(self.folder).items() if not name.startswith(home)}

    def there(self):
        """What is live on the board and the releases that it has."""
        return {name: content for name, content in self._board.state().items() if not name.endswith(".lock")} if self._board else {}

    def live(self):
        return self._board.live() if self._board else None


def nothing(scene):
    """The command is enough."""


def together(*changes):
    def change(scene):
        for one in changes:
            one(scene)

    return change


# The way to the board


def ssh(line):
    """A line of the user's ssh config, before the rest of it."""
    return lambda scene: scene.board.client(line)


def only_here(*tools):
    """Of this machine's programs, there are only these."""

    def change(scene):
        assert scene.board
        only = scene.folder / "only"
        only.mkdir()
        for one in tools:
            (only / one).symlink_to(str(shutil.which(one)))
        scene.patch.setenv("PATH", str(only))

    return change


# The board


def there(name, script):
    """A program of the board's system is this script."""
    return lambda scene: scene.board.tool(name, script)


def not_there(name):
    return lambda scene: (scene.board.tools / name).unlink()


def live(scene):
    """A release is live on the board, and the bundle has become another."""
    assert scene.board
    push(scene.bundle, "board", "cpu", lambda line: None)
    grown(scene.bundle, 1000)


def answers(command, script):
    """The board's mmedge is this script for one of its commands."""

    def change(scene):
        live(scene)
        scene.board.says(command, script)

    return change


def without_mmedge(scene):
    live(scene)
    (scene.board.home / ".local" / "bin" / "mmedge").unlink()


def another_push(scene):
    live(scene)
    far = scene.stack.enter_context(Remote.parse("board:mmedge/toy").connected())
    scene.stack.enter_context(locked(far))


def home(name, text=None):
    """A folder, or a file with this text, in the board's home."""

    def change(scene):
        path = scene.board.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if text is None else path.write_text(text)

    return change


# The bundle


def manifest(*where, value):
    """One value of the manifest."""
    return lambda scene: edit(scene.bundle, where, value)


def graph(key, value):
    """One value of what the manifest says of the graph."""
    return manifest(*GRAPH, key, value=value)


def file_of_the_graph(act):
    """``damaged``, ``cut`` or ``missing``."""

    def change(scene):
        path = scene.bundle / json.loads((scene.bundle / MANIFEST).read_text())["models"]["eyes"]["graphs"]["image_encoder"]["file"]["path"]
        content = path.read_bytes()
        if act == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-1] if act == "cut" else content[:-1] + bytes([content[-1] ^ 1]))

    return change


def being_written(scene):
    scene.stack.enter_context(Bundle.writing(scene.bundle))


def compiled(target):
    """The bundle is compiled for that target too."""

    def change(scene):
        from mmedge.deploy.compile import compile
        from mmedge.target import Target

        compile(scene.bundle, Target.load(target), lambda line: None)

    return change


# The target


def target(*lines, **instead):
    """``mine.toml``: these lines after those that every target has; a keyword takes the place of one of them."""

    def change(scene):
        kept = [line for line in TARGET.splitlines() if line.partition(" ")[0] not in instead]
        made = [*kept, *(f"{key} = {value}" for key, value in instead.items()), *lines]
        (scene.folder / "mine.toml").write_text("\n".join(made))

    return change


# This machine


def full_disk(scene):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    scene.patch.setattr(os, "fsync", full)


def interrupted_in(where):
    """Ctrl-C while this function runs."""

    def change(scene):
        def stop(*arguments, **options):
            raise KeyboardInterrupt

        scene.patch.setattr(where, stop)

    return change


def system(files, machine="aarch64"):
    """mmedge doctor looks at a system of these files, besides what really runs here."""

    def change(scene):
        root = tree(scene.folder / "system", files)
        scene.patch.setattr(platform, "machine", lambda: machine)
        scene.patch.setattr(doctor, "doctor", functools.partial(doctor.doctor, root))
        scene.patch.setattr(doctor, "hold", functools.partial(doctor.hold, root=root))

    return change


# NVIDIA's runtime


def without(*modules):
    """These Python modules are not installed."""

    def change(scene):
        for name in modules:
            scene.patch.setitem(sys.modules, name, None)
        scene.patch.setattr(device, "runtime", functools.cache(device.runtime.__wrapped__))  # it remembers what it has found

    return change


def broken(why):
    """TensorRT's Python module is there, and does not import: NVIDIA's own libraries are missing."""

    def change(scene):
        (scene.folder / "installed").mkdir()
        (scene.folder / "installed" / "tensorrt.py").write_text(f"raise ImportError({why!r})")
        scene.patch.syspath_prepend(str(scene.folder / "installed"))
        scene.patch.delitem(sys.modules, "tensorrt", raising=False)

    return change


def gpu(status="cudaSuccess", **facts):
    """A GPU with CUDA and TensorRT, which are stand-ins. ``status``: what CUDA answers to everything."""
    return lambda scene: stand_in.install(scene.patch, status=stand_in_gpu.cudaError_t[status], **facts)


def engine(content=None, batch=(1, 1, 4), **facts):
    """The bundle's graph is placed on ``nvidia``, with an engine of the stand-in's; ``content``: the file holds that instead."""

    def change(scene):
        with Bundle.writing(scene.bundle) as bundle, bundle.scratch() as scratch:
            made = bundle.graph("eyes", "image_encoder")
            (spec,) = made.inputs
            profile = {spec.name: [(size, *spec.shape[1:]) for size in batch]}
            stand_in_engine.plan(scratch / "eyes.plan", made, profile=profile, **facts)
            file = bundle.add("eyes", "eyes.plan", (scratch / "eyes.plan").read_bytes() if content is None else content)
            placed = Placement(state="ready", backend="tensorrt", precision="fp32", reason="", file=file)
            engines = {**bundle.manifest.engines, "nvidia": {"eyes/image_encoder": placed}}
            bundle.manifest = bundle.manifest.model_copy(update={"engines": engines})
            bundle.commit()

    return change


# Graphs of the user's own


def onnx(text, opset=18, ir=10):
    """``own.onnx`` in ONNX's own syntax: ``(float[2,4] x) => (float[2,4] y) { y = Relu(x) }``."""

    def change(scene):
        from onnx import parser, save

        save(parser.parse_model(f'<ir_version: {ir}, opset_import: ["": {opset}]> own {text}'), scene.folder / "own.onnx")

    return change
