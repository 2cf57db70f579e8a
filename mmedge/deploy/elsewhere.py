"""Placements for a device that is not this machine, or whose engines this machine cannot open: what will run there, as far as it can be known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mmedge
from mmedge.backends.tensorrt import flavour as flavours
from mmedge.backends.tensorrt import store
from mmedge.bundle import Bundle
from mmedge.deploy.preflight import Preflight, asked, parser, preflight
from mmedge.errors import MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.manifest import Evidence, File, Placement, Trial
from mmedge.runner import Candidate, Graph, load_backend
from mmedge.target import Precision, Target

PREFERRED = "the model's family prefers it"


@dataclass(frozen=True)
class Offer:
    """A graph that is to be placed."""

    role: str
    key: str
    """In ``manifest.models[role].graphs``."""
    graph: Graph
    """With its variants, and a range for every dynamic dimension."""
    wanted: tuple[str, ...]
    """The backends that it is offered to, in order."""
    golden: Golden
    missing: str = ""
    """Why it is not there in a precision that the target wants."""

    @property
    def name(self) -> str:
        return f"{self.role}/{self.key}"


def foresee(bundle: Bundle, offer: Offer, target: Target, before: Placement | None) -> Placement:
    """Where a graph will run on the device. An engine that other machines can open is kept in the bundle; others are built on the device.

    Args:
        before: its placement so far.

    Raises:
        MmedgeError: no backend of the target takes it, or its file is damaged.
    """
    if offer.wanted[0] != "tensorrt":
        return _preferred(offer, target, before)
    trials = [Trial(backend="tensorrt", precision="", note=offer.missing)] if offer.missing else []
    doubted: list[tuple[Candidate, Preflight]] = []
    for candidate in load_backend("tensorrt").candidates(offer.graph, target):
        found = preflight(offer.name, candidate, target, before)
        if not found.refused and not found.doubt:
            return _built(bundle, offer, candidate, target, found, before, trials)
        trials.append(Trial(backend="tensorrt", precision=candidate.precision, note=found.refused or found.doubt))
        doubted += [(candidate, found)] if found.doubt else []
    if doubted:
        candidate, found = doubted[0]
        return _built(bundle, offer, candidate, target, found, before, trials)
    refusal = "; ".join(dict.fromkeys(trial.note for trial in trials)) or "the bundle holds it in no precision that the target allows"
    others = [backend for backend in offer.wanted if backend != "tensorrt"]
    if not others:
        raise MmedgeError(
            f"{offer.name} can be placed on no backend of {target.name}: {refusal}", 'let its target have "ort" too, or choose another: mmedge targets'
        )
    return Placement(
        state="on-device", backend=others[0], precision=_first(target, others[0]), reason=f"tensorrt does not take it: {refusal}", trials=tuple(trials)
    )


def unopened(bundle: Bundle, offer: Offer, target: Target) -> Placement:
    """An engine that ``trtexec`` builds on the device itself, where TensorRT's Python module is missing: nothing here can open it or hold it against golden.

    Raises:
        MmedgeError: trtexec or the GPU is missing, or no engine comes of the graph.
    """
    backend = load_backend("tensorrt")
    candidate = next(iter(backend.candidates(offer.graph, target)), None)
    if candidate is None:
        raise MmedgeError("the bundle holds it in no precision that the target allows", "export the bundle again for this target")
    with bundle.scratch() as scratch:
        engine = backend.compile(candidate, target, scratch)
        assert engine.path is not None
        file = bundle.add(offer.role, engine.path.name, engine.path)
    key = store.key(candidate, target)
    on = f"trtexec of TensorRT {key['tensorrt']} for compute capability {key['compute_capability']}"
    return Placement(
        state="built",
        backend="tensorrt",
        precision=candidate.precision,
        reason="; ".join(filter(None, (offer.missing, "built by trtexec, and never opened: TensorRT's Python module is missing here"))),
        file=file,
        made_of=candidate.graph.sha256 if candidate.graph is not offer.graph else None,
        key=key,
        evidence=(Evidence(kind="built", on=on),),
    )


def _preferred(offer: Offer, target: Target, before: Placement | None) -> Placement:
    """On a backend that comes before NVIDIA's. What NVIDIA would say is asked once for each version of its parser and of mmedge's lists."""
    placed = Placement(
        state="on-device", backend=offer.wanted[0], precision=_first(target, offer.wanted[0]), reason="decided on the device, not on this machine"
    )
    if offer.wanted == target.backends:
        return placed
    if "tensorrt" not in target.backends:
        return placed.model_copy(update={"reason": PREFERRED})
    key = {"asked": parser(), "mmedge": mmedge.__version__, "sha256": offer.graph.sha256}
    if before and before.key == key:
        return before
    return placed.model_copy(update={"reason": "; ".join(filter(None, (PREFERRED, asked(offer.graph, target)))), "key": key})


def _built(
    bundle: Bundle, offer: Offer, candidate: Candidate, target: Target, found: Preflight, before: Placement | None, trials: Sequence[Trial]
) -> Placement:
    placed = Placement(
        state="on-device",
        backend="tensorrt",
        precision=candidate.precision,
        reason="; ".join(filter(None, (offer.missing, found.note))),
        made_of=candidate.graph.sha256 if candidate.graph is not offer.graph else None,
        key=found.key,
        trials=tuple(trials),
        evidence=found.evidence,
    )
    if flavours.flavour(target) != "rtx" or not found.evidence:
        return placed
    return placed.model_copy(update={"state": "built", "file": _kept(bundle, offer, candidate, found, before)})


def _kept(bundle: Bundle, offer: Offer, candidate: Candidate, found: Preflight, before: Placement | None) -> File:
    """The engine in the bundle: what was built now, else what is there already."""
    if found.engine is None:
        assert before is not None
        assert before.file is not None
        bundle.file(before.file)
        return before.file
    with bundle.scratch() as scratch:
        path = scratch / "engine"
        with path.open("wb") as file:
            file.write(memoryview(found.engine).cast("B"))
        return bundle.add(offer.role, f"{offer.key}-{candidate.precision}.rtx.plan", path, move=True)


def _first(target: Target, backend: str) -> Precision:
    return target.precisions.get(backend, ("fp32",))[0]
