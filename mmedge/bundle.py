"""A bundle is a folder: immutable files whose names carry their hash, and ``manifest.json``, whose replacement is the commit."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmedge import fallback, runner
from mmedge.documents import disk_error, dump_json, read_json, replace_file, validate
from mmedge.errors import MmedgeError
from mmedge.family import load_family
from mmedge.manifest import File, Graph, Manifest, Onnx, Placement, Variant
from mmedge.runner import Runner
from mmedge.target import Target
from mmedge.tensors import TensorSpec

MANIFEST = "manifest.json"
LOCK = ".lock"
SCRATCH = ".scratch-"
AGAIN = "export the bundle again, or copy it again from where it was made"
CHUNK_BYTES = 1 << 20


class Bundle:
    """An opened bundle. Reading verifies; writing never touches a file that a manifest names."""

    def __init__(self, path: Path, manifest: Manifest | None) -> None:
        self.path = path
        self._draft = manifest
        self._verified: set[str] = set()

    @property
    def manifest(self) -> Manifest:
        """What is on disk, or the draft that a writer has set and not yet committed."""
        if self._draft is None:
            raise MmedgeError(f"{self.path} was never finished: it has no {MANIFEST}", "run the export again: it keeps what is complete")
        return self._draft

    @manifest.setter
    def manifest(self, draft: Manifest) -> None:
        self._draft = draft

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read and check the manifest (not yet the files: ``file`` does that when each is used).

        Raises:
            MmedgeError: no such folder, a file, no manifest, a damaged one, one from a newer mmedge, or a name in it that leads outside.
        """
        path = Path(path)
        if path.is_file():
            named = f"name its folder: {path.parent}" if path.name == MANIFEST else "name the folder that mmedge export wrote"
            raise MmedgeError(f"{path} is a file, and a bundle is a folder", named)
        if not path.is_dir():
            raise MmedgeError(f"there is no bundle at {path}", "make one: mmedge export --target cpu -o " + str(path))
        if not (path / MANIFEST).is_file():
            raise MmedgeError(f"{path} is not a bundle: it has no {MANIFEST}", "name the folder that mmedge export wrote")
        return cls(path, read_json(path / MANIFEST, Manifest, fix=AGAIN))

    @classmethod
    @contextlib.contextmanager
    def writing(cls, path: str | Path, *, create: bool = False) -> Iterator[Bundle]:
        """The bundle at ``path`` for one writer at a time; what is there stays valid until ``commit``.

        Args:
            create: make the folder if there is none; a bundle that is there, damaged or not, is going to be replaced.

        Raises:
            MmedgeError: no bundle there (unless ``create``), something else there, another writer, or a disk that refuses.
        """
        path = Path(path)
        if not create:
            cls.open(path)
        if path.exists() and not (path / MANIFEST).exists() and not (path / LOCK).exists() and (path.is_file() or any(path.iterdir())):
            raise MmedgeError(f"{path} exists and is not a bundle", "choose another folder with -o")
        new = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = open(path / LOCK, "ab")  # noqa: SIM115 (closed by the stack below)
        except OSError as error:
            raise disk_error(path, error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise MmedgeError(f"another build is writing to {path}", "wait for it, or choose another folder with -o") from error
            for left in path.glob(f"{SCRATCH}*"):
                shutil.rmtree(left, ignore_errors=True)
            try:
                yield cls(path, None if create else read_json(path / MANIFEST, Manifest, fix=AGAIN))
            except BaseException:
                if os.listdir(path) == [LOCK]:  # nothing came of it
                    (path / LOCK).unlink()
                    if new:
                        path.rmdir()
                raise

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for the writer, on the disk that has room for the bundle. A killed writer's is removed by the next one.

        Raises:
            MmedgeError: no space left in it.
        """
        try:
            with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self.path) as path:
                yield Path(path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise disk_error(self.path, error) from error

    def file(self, entry: File) -> Path:
        """The path of a file, once its size and sha256 are what the manifest says.

        Raises:
            MmedgeError: it is missing, damaged, or a link that leads outside the bundle.
        """
        path = self.path / entry.path
        if entry.path in self._verified:
            return path
        try:
            if not path.is_file():
                raise MmedgeError(f"{path} is missing from the bundle", AGAIN)
            if not path.resolve().is_relative_to(self.path.resolve()):
                raise MmedgeError(f"{path} leads outside the bundle", AGAIN)
            if path.stat().st_size != entry.size_bytes or sha256_of(path) != entry.sha256:
                raise MmedgeError(f"{path} is damaged: it is not what the manifest describes", AGAIN)
        except OSError as error:
            raise MmedgeError(f"{path} cannot be read: {error.strerror}", AGAIN) from error
        self._verified.add(entry.path)
        return path

    def add(self, role: str, name: str, content: bytes | Path, *, move: bool = False) -> File:
        """Store a file as ``role/stem.HASH.suffix``. Not visible to anyone until ``commit``. What is there already stays as it is.

        Args:
            move: the file is the writer's own scratch and may be taken as it is.

        Raises:
            MmedgeError: the name would land outside the bundle, or the disk refuses.
        """
        digest = sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        stem, dot, suffix = name.partition(".")
        relative = f"{role}/{stem}.{digest[:8]}{dot}{suffix}"
        path = self.path / relative
        if not path.parent.resolve().is_relative_to(self.path.resolve()):
            raise MmedgeError(f"{path} would land outside the bundle", "choose another folder with -o")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and not path.is_symlink() and sha256_of(path) == digest:
                pass
            elif isinstance(content, Path):
                aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                try:
                    (os.replace if move else shutil.copyfile)(content, aside)
                    with aside.open("rb+") as file:
                        os.fsync(file.fileno())
                    os.replace(aside, path)
                finally:
                    aside.unlink(missing_ok=True)
            else:
                replace_file(path, content)
        except OSError as error:
            raise disk_error(path, error) from error
        return File(path=relative, sha256=digest, size_bytes=path.stat().st_size)

    def commit(self) -> None:
        """Make the draft the truth, in one step."""
        replace_file(self.path / MANIFEST, dump_json(self.manifest).encode())

    def orphans(self) -> list[Path]:
        """Files that no manifest names: left by builds that were replaced or killed."""
        named = {file.path for file in self.manifest.files()} | {MANIFEST, LOCK}
        return sorted(path for path in self.path.rglob("*") if path.is_file() and path.relative_to(self.path).as_posix() not in named)

    def graph(self, role: str, name: str) -> runner.Graph:
        """A graph as backends take it, with its variants, their files verified."""
        entry = self.manifest.models[role].graphs[name]
        variants: dict[str, runner.Graph] = {}
        for one in entry.variants:
            # Targets that were quantized on different data have each one of the same name.
            variants[f"{one.name} {one.file.sha256[:8]}" if one.name in variants else one.name] = self._opened(entry, one)
        return replace(self._opened(entry, entry), variants=variants)

    def made_of(self, role: str, name: str, sha256: str | None) -> runner.Graph:
        """A graph without its variants, or the one of them with this checksum: no other file is read. Raises MmedgeError: the bundle does not hold it."""
        entry = self.manifest.models[role].graphs[name]
        one = entry if sha256 is None else next((variant for variant in entry.variants if variant.file.sha256 == sha256), None)
        if one is None:
            raise MmedgeError(f"{role}/{name} is placed as a file that {self.path} does not hold", AGAIN)
        return self._opened(entry, one)

    def _opened(self, entry: Graph, one: Onnx) -> runner.Graph:
        inputs, outputs = (tuple(TensorSpec(t.name, t.dtype, t.shape) for t in side) for side in (entry.inputs, entry.outputs))
        weights, digest = (self.file(one.weights), one.weights.sha256) if one.weights else (None, "")
        precision = one.precision if isinstance(one, Variant) else "fp32"
        return runner.Graph(self.file(one.file), one.file.sha256, inputs, outputs, weights, entry.ranges, precision=precision, weights_sha256=digest)

    def placement(self, role: str, name: str, target: Target) -> Placement:
        """Where a graph runs on this machine: where it was placed, else, with a warning, as ``fallback`` says.

        Raises:
            MmedgeError: not compiled for that target yet, or only to be compiled on the device; or nothing of it holds on this CPU.
        """
        placed = self.manifest.engines.get(target.name, {}).get(f"{role}/{name}")
        if placed is None and target.name in self.manifest.engines:
            raise MmedgeError(f"{role}/{name} is not placed on {target.name}", f"mmedge compile {self.path} --target {target.name}")
        if placed is None:
            others = f", or use what it is compiled for: --target {next(iter(self.manifest.engines))}" if self.manifest.engines else ""
            raise MmedgeError(f"{self.path} is not compiled for {target.name}", f"mmedge compile {self.path} --target {target.name}{others}")
        if placed.state != "ready":
            raise MmedgeError(
                f"the engines of {self.path} for {target.name} are {'built' if placed.state == 'on-device' else 'opened and checked first'} on the device",
                f"on the device: mmedge compile {self.path} --target {target.name}",
            )
        return fallback.standing(placed, self.manifest, role, name, target, self.path)

    def engine(self, role: str, name: str, target: Target) -> tuple[runner.Backend, runner.Engine]:
        """Where a graph was placed, and what is opened there.

        Raises:
            MmedgeError: not compiled for that target, a damaged file, or a runtime or a precision that this machine lacks.
        """
        placed = self.placement(role, name, target)
        backend = runner.load_backend(placed.backend)
        facts = backend.probe(target)
        if not facts.available:
            raise MmedgeError(
                f"{role}/{name} was compiled for {placed.backend}: {facts.reason}", facts.fix or f"mmedge compile {self.path} --target {target.name}"
            )
        if placed.precision != "fp32" and facts.features and placed.precision not in facts.features:
            raise MmedgeError(
                f"{role}/{name} was compiled in {placed.precision}, which this machine lacks", f"mmedge compile {self.path} --target {target.name}"
            )
        candidate = runner.Candidate(self.made_of(role, name, placed.made_of), placed.precision)
        return backend, runner.Engine(candidate, self.file(placed.file) if placed.file else None, placed.key)

    @contextlib.contextmanager
    def runner(self, role: str, name: str, target: Target) -> Iterator[Runner]:
        """Open one graph where it was placed. Raises MmedgeError as ``engine`` does, or where the runtime refuses the file."""
        backend, engine = self.engine(role, name, target)
        with backend.open(engine, target) as opened:
            yield opened

    @contextlib.contextmanager
    def session(
        self,
        role: str,
        target: str | Target,
        *,
        through: Callable[[str, Runner], Runner] = lambda name, opened: opened,
        opens: Callable[[str], contextlib.AbstractContextManager[Runner]] | None = None,
    ) -> Iterator[Any]:
        """Open one model for use: ``with bundle.session("eyes", target="cpu") as eyes: eyes.classify(...)``.

        Args:
            through: what a runner, with its graph's name, is handed to the model as: a profiler's watch.
            opens: what opens a graph by its key, instead of where the target has placed it.

        Raises:
            MmedgeError: no such model, not compiled for that target, a damaged file, or a runtime that is not installed.
        """
        if role not in self.manifest.models:
            raise MmedgeError(f"{self.path} has no model {role!r}", f"it has: {', '.join(self.manifest.models)}")
        model = self.manifest.models[role]
        target = Target.load(target) if isinstance(target, str) else target
        family = load_family(model.family)
        with contextlib.ExitStack() as stack:
            opened = opens or (lambda key: self.runner(role, key, target))
            runners = {name: through(name, stack.enter_context(opened(key))) for name, key in model.graphs_for(target).items()}
            assets = {name: self.file(entry) for name, entry in model.assets.items()}
            config = validate(model.config, family.Config, f"{self.path / MANIFEST}: models.{role}.config", fix=AGAIN)
            for wanted, found in ((family.graphs(config), runners), (family.assets(config), assets)):
                if missing := sorted(set(wanted) - set(found)):
                    raise MmedgeError(f"{self.path}: the model {role!r} lacks its {missing[0]}", AGAIN)
            yield load_family(model.family, "session").Session(runners, assets, config)


def sha256_of(path: Path) -> str:
    """Hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()
