"""Which task: by the verbs that a model has and the columns that the data have, or by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.evaluate.answering import Caption, Transcription, Vqa
from mmedge.evaluate.classifying import Classification
from mmedge.evaluate.columns import no_column
from mmedge.evaluate.data import Data
from mmedge.evaluate.matching import Matching
from mmedge.evaluate.retrieving import Embedding, Retrieval
from mmedge.evaluate.tasks import Setting, Task
from mmedge.family import load_family, optional_of, verbs_of
from mmedge.manifest import Manifest, Model

Make = Callable[[Model, Data, tuple[str, ...], str, Setting], Task]
Columns = tuple[tuple[str, ...], tuple[str, ...]]
"""Those that a model is given, and those of which its answers are held against the first that is there."""

TASKS: dict[str, Make] = {
    "retrieval": Retrieval,
    "classification": Classification,
    "matching": Matching,
    "vqa": Vqa,
    "caption": Caption,
    "transcription": Transcription,
}
"""Where several fit, the first is taken."""

WITHOUT_ANSWERS: dict[str, Make] = {
    "embedding": Embedding,
    **{name: made for name, made in TASKS.items() if name not in ("retrieval", "matching")},
}
"""Those that can be done, though not scored, where the data have no right answers."""


def choose(manifest: Manifest, data: Data, role: str | None, name: str | None, setting: Setting, *, without_answers: bool = False) -> tuple[str, Task]:
    """(role, task).

    Args:
        without_answers: where no task fits the data because they lack right answers, one that can at least be done will do.

    Raises:
        MmedgeError: no such role or task; the model has no verb for it; the data lack a column; or without a role, several models could be meant.
    """
    kinds = {**TASKS, **WITHOUT_ANSWERS} if without_answers else TASKS
    if name is not None and name not in kinds:
        raise no_column(name, list(kinds), "there is no task")
    if role is not None and role not in manifest.models:
        raise MmedgeError(f"{manifest.name} has no model {role!r}", f"it has: {', '.join(manifest.models)}")
    models = manifest.models if role is None else {role: manifest.models[role]}
    can = {one: _named(_there(model, columns_of(model), data), name) for one, model in models.items()}
    fits = _fitting(can, data)
    if not fits and without_answers:
        fits = _fitting({one: _named(_there(model, inputs_of(model), data), name) for one, model in models.items()}, data)
    if not fits:
        raise _none(manifest, can, data, name)
    if len(fits) > 1:
        listed = ", ".join(f"{one} ({' or '.join(tasks)})" for one, tasks in fits.items())
        raise MmedgeError(f"{data.name} can be used for {listed}", f"name one of them: --role {next(iter(fits))}")
    ((one, tasks),) = fits.items()
    task = next(task for task in kinds if task in tasks)
    inputs, wants = tasks[task]
    return one, kinds[task](manifest.models[one], data, inputs, next((column for column in wants if column in data.columns), ""), setting)


def columns_of(model: Model) -> dict[str, Columns]:
    """What a model can do: task -> (columns that it is given, columns of which its answers are held against the first that is there)."""
    verbs = verbs_of(model)
    item = _embedded(verbs)
    made: dict[str, Columns] = {}
    if item and "embed_text" in verbs:
        made["retrieval"] = (item,), ("text",)
    if "classify" in verbs:
        made["classification"] = _classified(model, item), ("label",)
    if "match" in verbs:
        made["matching"] = ("image",), ("text",)
    if "answer" in verbs:
        made["vqa"] = ("image", "question"), ("answers",)
    if "caption" in verbs:
        made["caption"] = ("image",), ("text",)
    if "transcribe" in verbs:
        made["transcription"] = ("audio",), ("transcript", "text")
    return made


def _classified(model: Model, item: str | None) -> tuple[str, ...]:
    """The columns that ``classify`` takes, as its parameters are called: several where a model looks at several things together."""
    if optional := optional_of(model):
        return optional
    of: dict[str, Any] = {"image": "image", "sound": "audio", "audio": "audio", "text": "text", "item": item or model.config.get("takes")}
    parameters = inspect.signature(load_family(model.family, "session").Session.classify).parameters
    return tuple(of[name] for name in parameters if of.get(name))


def inputs_of(model: Model) -> dict[str, Columns]:
    """What a model can do without right answers: task -> (columns that it is given, no column)."""
    found = {task: (inputs, ()) for task, (inputs, _) in columns_of(model).items() if task in WITHOUT_ANSWERS}
    if not model.config.get("labels"):  # its classes would be those of the data
        found.pop("classification", None)
    if item := _embedded(verbs_of(model)):
        found["embedding"] = (item,), ()
    return dict(found)


def _embedded(verbs: set[str]) -> str | None:
    """The column that a model makes an embedding of, beside texts."""
    return next((column for column in ("image", "audio") if f"embed_{column}" in verbs), None)


def _named(tasks: dict[str, Columns], name: str | None) -> dict[str, Columns]:
    return {task: columns for task, columns in tasks.items() if name in (None, task)}


def _there(model: Model, tasks: dict[str, Columns], data: Data) -> dict[str, Columns]:
    """Without the columns that the data lack and the model can do without, unless nothing would be left."""
    lacking = set(optional_of(model)) - data.columns
    return {task: (tuple(column for column in inputs if column not in lacking) or inputs, wants) for task, (inputs, wants) in tasks.items()}


def _fitting(can: dict[str, dict[str, Columns]], data: Data) -> dict[str, dict[str, Columns]]:
    """Of the models those with a task that fits the data, with these tasks."""
    fits = {one: {task: columns for task, columns in tasks.items() if _held(columns, data)} for one, tasks in can.items()}
    return {one: tasks for one, tasks in fits.items() if tasks}


def _held(columns: Columns, data: Data) -> bool:
    inputs, wants = columns
    return data.columns.issuperset(inputs) and not (wants and data.columns.isdisjoint(wants))


def _none(manifest: Manifest, can: dict[str, dict[str, Columns]], data: Data, name: str | None) -> MmedgeError:
    """No model has a task that fits the data."""
    needs = [f"{one} by {task} ({', '.join((*inputs, ' or '.join(wants)))})" for one, tasks in can.items() for task, (inputs, wants) in tasks.items()]
    if not needs:
        others = [f"{one} by {' or '.join(tasks)}" for one, model in manifest.models.items() if (tasks := columns_of(model))]
        what = f"{' and '.join(can)} cannot be evaluated{f' by {name}' if name else ''}: there is no verb for it"
        return MmedgeError(what, f"what can be: {'; '.join(others) or 'nothing in this bundle'}")
    columns = ", ".join(sorted(data.columns)) or "none"
    return MmedgeError(
        f"{data.name} lacks a column that is needed: it has {columns}, and can be evaluated: {'; '.join(needs)}", "say which column it is: --column text=NAME"
    )
