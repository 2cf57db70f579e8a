"""What a check holds a result to. Of what is quantized that is what it gave itself when it was made: how far it may be from fp32 was judged on data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.recorded import outputs_of
from mmedge.fallback import as_chosen, choice_of
from mmedge.manifest import Case, Placement
from mmedge.rated import Rated
from mmedge.target import Precision, Target
from mmedge.tensors import Feeds

INTEGERS = ("int8", "int4")


@dataclass(frozen=True, slots=True)
class Standard:
    """What one result must be."""

    expected: Any
    by: str = ""
    """Whose it is, where it is not the reference's; begins with a comma."""
    unjudged: str = ""
    """Why there is nothing to hold the result to."""


def outputs_for(bundle: Bundle, role: str, name: str, what: Placement | Rated, reference: Feeds) -> Standard:
    """Of a graph's outputs. What was put into a bundle past its task gate is held to the reference, as if it were no integers.

    Args:
        what: it really runs as.
        reference: the golden outputs, in fp32.

    Raises:
        MmedgeError: what the bundle holds of them is damaged.
    """
    variant = next((one for one in bundle.manifest.models[role].graphs[name].variants if one.file.sha256 == what.made_of), None)
    own = outputs_of(bundle, variant) if variant and what.precision in INTEGERS else None
    return Standard(own, by=", against its own outputs when it was made") if own else Standard(reference)


def gated(bundle: Bundle, role: str, name: str, target: Target, placed: Placement) -> bool:
    """Whether what a graph runs as has passed the model's gate on data: what was made by a quantizer must have."""
    if placed.precision not in INTEGERS or placed.made_of is None:
        return True
    choice = choice_of(bundle.manifest, role, name, target)
    return choice is not None and any(one.passed and one.made_of == placed.made_of for one in choice.rated)


def verbs_for(bundle: Bundle, role: str, target: Target, placements: Mapping[str, Placement]) -> Callable[[Case, Any], Standard]:
    """Of the verbs of a model.

    Args:
        placements: where its graphs really run, by their keys.

    Returns:
        A case, with what the reference gave -> what it is held to.

    Raises:
        MmedgeError: what the bundle holds of them is damaged.
    """
    quantized = bundle.manifest.quantized.get(target.name, {}).get(role)
    if quantized is None or all(placed.precision == "fp32" for placed in placements.values()):
        return lambda case, reference: Standard(reference)
    others = [name for name, placed in placements.items() if name in quantized.graphs and not as_chosen(placed, quantized.graphs[name])]
    if not others and quantized.golden:
        return _recorded(Golden(bundle, role, quantized))
    if all(placed.precision not in INTEGERS for placed in placements.values()):
        return lambda case, reference: Standard(reference)
    why = f"{' and '.join(others)} not as chosen, beside others that are quantized" if others else "chosen anew on this machine, from what was judged alone"
    return lambda case, reference: Standard(None, unjudged=f"{why}: mmedge quantize judges the whole")


def _recorded(golden: Golden) -> Callable[[Case, Any], Standard]:
    known = [(case, expected) for case, _, expected in golden.cases()]

    def standard(case: Case, reference: Any) -> Standard:
        for one, expected in known:
            if (one.call, one.args) == (case.call, case.args):
                return Standard(expected)
        return Standard(None, unjudged="it was not recorded when the model was quantized")

    return standard


def betrays(placed: Placement, executed: Mapping[str, str]) -> str:
    """What a runtime says that it computes in, where that is not what it was placed in; empty where it is, or where it does not tell.

    Less than was promised is a lie as much as more: an engine in fp16 that is really fp32 is as slow as one.
    """
    said = executed.get("precision", "")
    mixed = placed.precision != "fp32" and f"in {placed.precision}" in executed.get(
        "layers", ""
    )  # an engine's most frequent precision need not be the one that it was built for
    return said if said in get_args(Precision) and said != placed.precision and not mixed else ""
