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
from mmedge.evaluate.retrieving import Retrieval
from mmedge.evaluate.tasks import Setting, Task
from mmedge.family import load_family, verbs_of
from mmedge.manifest import Manifest, Model

TASKS: dict[str, Callable[[Model, Data, tuple[str, ...], str, Setting], Task]] = {
    "retrieval": Retrieval,
    "classification": Classification,
    "vqa": Vqa,
    "caption": Caption,
    "transcription": Transcription,
}
"""Where several fit, the first is taken."""


def choose(manifest: Manifest, data: Data, role: str | None, name: str | None, setting: Setting) -> tuple[str, Task]:
    """(role, task).

    Raises:
        MmedgeError: no such role or task; the model has no verb for it; the data lack a column; or without a role, several models could be meant.
    """
    if name is not None and name not in TASKS:
        raise no_column(name, list(TASKS), "there is no task")
    if role is not None and role not in manifest.models:
        raise MmedgeError(f"{manifest.name} has no model {role!r}", f"it has: {', '.join(manifest.models)}")
    models = manifest.models if role is None else {role: manifest.models[role]}
    can = {one: {task: columns for task, columns in columns_of(model).items() if name in (None, task)} for one, model in models.items()}
    fits = {one: found for one, tasks in can.items() if (found := {task: columns for task, columns in tasks.items() if _held(columns, data)})}
    if not fits:
        raise _none(manifest, can, data, name)
    if len(fits) > 1:
        listed = ", ".join(f"{one} ({' or '.join(tasks)})" for one, tasks in fits.items())
        raise MmedgeError(f"{data.name} can be used for {listed}", f"name one of them: --role {next(iter(fits))}")
    ((one, tasks),) = fits.items()
    task = next(task for task in TASKS if task in tasks)
    inputs, wants = tasks[task]
    return one, TASKS[task](manifest.models[one], data, inputs, next(column for column in wants if column in data.columns), setting)


def columns_of(model: Model) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """What a model can do: task -> (columns that it is given, columns of which its answers are held against the first that is there)."""
    verbs = verbs_of(model)
    item = next((column for column in ("image", "audio") if f"embed_{column}" in verbs), None)
    made: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    if item and "embed_text" in verbs:
        made["retrieval"] = (item,), ("text",)
    if "classify" in verbs:
        made["classification"] = _classified(model, item), ("label",)
    if "answer" in verbs:
        made["vqa"] = ("image", "question"), ("answers",)
    if "caption" in verbs:
        made["caption"] = ("image",), ("text",)
    if "transcribe" in verbs:
        made["transcription"] = ("audio",), ("transcript", "text")
    return made


def _classified(model: Model, item: str | None) -> tuple[str, ...]:
    """The columns that ``classify`` takes, as its parameters are called: several where a model looks at several things together."""
    of: dict[str, Any] = {"image": "image", "sound": "audio", "audio": "audio", "text": "text", "item": item or model.config.get("takes")}
    parameters = inspect.signature(load_family(model.family, "session").Session.classify).parameters
    return tuple(of[name] for name in parameters if of.get(name))


def _held(columns: tuple[tuple[str, ...], tuple[str, ...]], data: Data) -> bool:
    inputs, wants = columns
    return data.columns.issuperset(inputs) and not data.columns.isdisjoint(wants)


def _none(manifest: Manifest, can: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]], data: Data, name: str | None) -> MmedgeError:
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
