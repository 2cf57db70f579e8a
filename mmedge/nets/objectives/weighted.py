"""What a recipe's ``objectives`` say: a weighted sum, each term found by its kind and fed by the names of its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from mmedge.errors import MmedgeError
from mmedge.nets.objectives import answered, embedded, labelled, paired, states
from mmedge.training import Objective

OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": labelled.cross_entropy,
    "matching": labelled.matching,
    "joint": labelled.joint,
    "contrastive": paired.contrastive,
    "sigmoid": paired.sigmoid,
    "alignment": paired.alignment,
    "features": embedded.features,
    "affinity": embedded.affinity,
    "relational": embedded.relational,
    "interactive": embedded.interactive,
    "logits": answered.logits,
    "sequence": answered.sequence,
    "hidden": states.hidden,
    "attention": states.attention,
}
"""Tensors are a function's ordinary parameters, a recipe's settings its keyword-only ones."""

COMPARED = {"features": "image_embedding", "hidden": "hidden_states", "attention": "attentions"}
"""Kinds that compare one output of the student with the teacher's of that name, and which one unless the setting ``of`` names another."""


class WeightedSum(nn.Module):
    """The loss. Its parameters are the projectors that terms ask for. Put it into the module that is trained, and end its ``forward`` with ``project``: so
    they are trained along, by several processes too, and kept in the states of the training.

    Args:
        objectives: as in the recipe.
        widths: the student's and the teacher's width of what is compared, by its name; needed for terms with ``projector = true``.

    Raises:
        MmedgeError: a setting is unknown or does not fit, a width is missing or another one and nothing projects, or two terms are the same.
    """

    def __init__(self, objectives: Sequence[Objective], widths: Mapping[str, tuple[int, int]] = {}) -> None:
        super().__init__()
        self.terms = {_name(one): one for one in objectives}
        if len(self.terms) < len(objectives):
            raise MmedgeError(f"an objective is named twice: {', '.join(_name(one) for one in objectives)}", "add their weights, and keep one of them")
        if not objectives:
            raise MmedgeError("there is no objective", "name at least one, such as contrastive")
        self.projectors = nn.ModuleDict()
        for name, one in self.terms.items():
            _check(one)
            if one.settings.get("projector"):
                if _of(one) not in widths:
                    raise MmedgeError(f"{name}: nothing is known of the widths of {_of(one)}", f"compare one of {', '.join(widths) or 'what this model gives'}")
                self.projectors[name.replace(".", "_")] = nn.Linear(*widths[_of(one)])
            elif one.kind in COMPARED and _of(one) in widths:
                embedded.hold_widths(one.kind, *widths[_of(one)])

    @property
    def needs(self) -> set[str]:
        """Names of the tensors without which ``forward`` cannot do."""
        return {_named(one, parameter) for one in self.terms.values() for parameter, needed in _takes(one).items() if needed}

    def project(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the model gave, and of that what projectors make, for ``forward``."""
        projected = {f"{name}_projected": projector(outputs[_of(one)]) for name, one in self.terms.items() if (projector := self._projector(name))}
        return {**outputs, **projected}

    def _projector(self, name: str) -> nn.Module | None:
        return dict(self.projectors.items()).get(name.replace(".", "_"))

    def forward(self, tensors: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term before its weight, detached, by its name: the kind, and what it compares where that is a choice.

        Args:
            tensors: what the model and its teacher gave (``teacher_`` in front) and what the batch holds, by the names of the objectives' parameters;
                ``features``, ``hidden`` and ``attention`` compare what ``of`` names (X, teacher_X and, where there is filling, X_mask). None is the same as
                missing; what nobody asks for is ignored.

        Raises:
            MmedgeError: a term lacks a tensor, or what it compares does not fit.
        """
        found = {name: self._term(name, one, tensors) for name, one in self.terms.items()}
        total = sum((self.terms[name].weight * value for name, value in found.items()), start=next(iter(found.values())).new_zeros(()))
        return total, {name: value.detach() for name, value in found.items()}

    def _term(self, name: str, one: Objective, tensors: Mapping[str, Any]) -> Tensor:
        fed: dict[str, Any] = {}
        for parameter, needed in _takes(one).items():
            tensor = _named(one, parameter)
            if tensors.get(tensor) is not None:
                fed[parameter] = tensors[tensor]
            elif needed:
                raise MmedgeError(
                    f"{name} needs {tensor}, which there is none of", "name a teacher, a column or a network that gives it, or drop this objective"
                )
        settings: dict[str, Any] = {key: value for key, value in one.settings.items() if key not in ("of", "projector")}
        if (projected := tensors.get(f"{name}_projected")) is not None:
            fed["student"] = projected
        elif projector := self._projector(name):
            settings["projector"] = projector
        return OBJECTIVES[one.kind](**fed, **settings)


def taught(one: Objective) -> bool:
    """Whether it wants something of a teacher."""
    return any(_named(one, parameter).startswith("teacher_") for parameter, needed in _takes(one).items() if needed)


def _of(one: Objective) -> str:
    return str(one.settings.get("of", COMPARED.get(one.kind, "")))


def _name(one: Objective) -> str:
    return f"{one.kind}.{_of(one)}" if "of" in one.settings else one.kind


def _takes(one: Objective) -> dict[str, bool]:
    """The parameters of its function that are tensors, and whether it needs them."""
    parameters = inspect.signature(OBJECTIVES[one.kind]).parameters.values()
    return {its.name: its.default is its.empty for its in parameters if its.kind is not its.KEYWORD_ONLY}


def _named(one: Objective, parameter: str) -> str:
    """The tensor that feeds a parameter."""
    if one.kind not in COMPARED:
        return parameter
    return {"student": _of(one), "teacher": f"teacher_{_of(one)}", "mask": f"{_of(one)}_mask"}[parameter]


def _check(one: Objective) -> None:
    """Raises MmedgeError: a setting that the kind has not, or of another type, or no temperature."""
    function = OBJECTIVES[one.kind]
    hints = get_type_hints(function)
    known: dict[str, Any] = {name: hints[name] for name, its in inspect.signature(function).parameters.items() if its.kind is its.KEYWORD_ONLY}
    known = {name: bool if name == "projector" else hint for name, hint in known.items()} | ({"of": str} if one.kind in COMPARED else {})
    for name, value in one.settings.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            what = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise MmedgeError(f"the objective {one.kind} has no setting {name!r}", what)
        if not _fits(value, known[name]) or (name == "temperature" and not float(str(value)) > 0):
            raise MmedgeError(f"the objective {one.kind} cannot take {name} = {value!r}", f"give {_wanted(known[name])}")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def _wanted(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(one) for one in get_args(hint))
    return {float: "a number, above 0 for a temperature", bool: "true or false", str: "a name"}.get(hint, "a list of whole numbers")
