"""What a graph runs as on a machine that lacks what its choice rests on: the next candidate of the choice that holds here, and a warning.

A graph in 8 bits is slow on a CPU without such products, and may be wrong there: x86 without VNNI adds them up in 16 bits, which overflow.
"""

from __future__ import annotations

import platform
import warnings
from pathlib import Path

from mmedge import features
from mmedge.errors import MmedgeError, MmedgeWarning
from mmedge.manifest import Manifest, Placement
from mmedge.rated import Choice, Rated
from mmedge.runner import load_backend
from mmedge.target import Target

FEATURES = "features"
"""In the key of a placement that was chosen by ``mmedge quantize``: what of the CPU its figures rest on, between spaces."""


def missing(placed: Placement) -> tuple[str, ...]:
    """What a choice rests on and this CPU lacks: all of it, where the system does not tell."""
    wanted = placed.key.get(FEATURES, "").split()
    return tuple(flag for flag in wanted if flag not in features.cpu_flags()) if wanted else ()


def choice_of(manifest: Manifest, role: str, name: str, target: Target) -> Choice | None:
    """What quantizing found for a graph; None where the target was not quantized for."""
    found = manifest.quantized.get(target.name, {}).get(role)
    return found.graphs.get(name) if found else None


def as_chosen(placed: Placement, choice: Choice) -> bool:
    """Whether a placement is the candidate that was chosen."""
    chosen = choice.of(choice.chosen)
    return (placed.backend, placed.precision, placed.made_of) == (chosen.backend, chosen.precision, chosen.made_of)


def refusal(rated: Rated, target: Target) -> tuple[str, str]:
    """Why a candidate cannot be opened here, and what to do about it; both empty where it can."""
    if rated.backend not in target.backends:
        return f"{target.name} no longer runs on {rated.backend}", ""
    facts = load_backend(rated.backend).probe(target)
    if not facts.available:
        return facts.reason, facts.fix
    if rated.precision != "fp32" and facts.features and rated.precision not in facts.features:
        return f"{rated.backend} computes in no {rated.precision} on this CPU", "take another candidate"
    return "", ""


def standing(placed: Placement, manifest: Manifest, role: str, name: str, target: Target, path: Path) -> Placement:
    """Where a graph runs on this machine: where it was placed, or else as the next candidate that holds here, which is warned of.

    Args:
        path: of the bundle, for what is said.

    Raises:
        MmedgeError: none holds here.
    """
    lacking = missing(placed)
    if not lacking:
        return placed
    rechoose = f"mmedge compile {path} --target {target.name} --rechoose"
    rests = f"rests on {', '.join(lacking)}, which this CPU lacks"
    choice = choice_of(manifest, role, name, target)
    if choice is None:
        raise MmedgeError(f"{role}/{name}: {placed.backend} {placed.precision} {rests}", f"mmedge compile {path} --target {target.name}")
    fixes = []
    for rated in choice.valid(features.cpu_flags()):
        why, fix = refusal(rated, target)
        if not why:
            said = f"{role}/{name}: {choice.chosen} {rests}; {rated.name} is taken instead; to choose anew here: {rechoose}"
            warnings.warn(said, MmedgeWarning, stacklevel=2)
            return placement(rated, f"instead of {choice.chosen}, which {rests}", target)
        fixes.append(fix)
    raise MmedgeError(f"{role}/{name}: {choice.chosen} {rests}, and the runtime of no other candidate is here", next(filter(None, fixes), rechoose))


def placement(rated: Rated, reason: str, target: Target) -> Placement:
    """A candidate where it is opened as the file that it is."""
    return Placement(
        state="ready",
        backend=rated.backend,
        precision=rated.precision,
        reason=reason,
        made_of=rated.made_of,
        key={"version": load_backend(rated.backend).probe(target).version or "", "machine": platform.machine(), FEATURES: " ".join(rated.features)},
    )
