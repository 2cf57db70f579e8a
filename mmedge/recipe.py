"""A recipe says what to make: models, where their files come from, options. It never names a device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from mmedge import catalog
from mmedge.documents import Document, read_toml
from mmedge.training import Training

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class Download(Document):
    """One file, from the first source that has it; all sources are held to one checksum."""

    sources: tuple[str, ...] = Field(min_length=1)
    sha256: str = Sha256


class TaskGate(Document):
    """What a model may lose when it is quantized, on the user's data."""

    metric: str = ""
    """As ``mmedge eval`` calls it; empty: the task's own. ``cosine``, ``spearman`` and ``top1_agreement`` are with fp32, and need no right answers."""
    max_drop: float = Field(default=0.01, ge=0)
    """In the metric's own units: 0.01 is a point, of an error rate and of CIDEr-D (0 to 10), too, as papers count them. Median ranks judge nothing."""


class Model(Document):
    """One model: its family, and the files of its checkpoint by the names the family looks for.

    Instead of ``files``: a ``folder`` or a ``file`` of the user's own, as a path that starts at the recipe; or ``module``.
    """

    family: str = ""
    """Empty: what the folder, the file or the module calls for."""
    files: dict[str, Download] = {}
    folder: str | None = None
    """A checkpoint."""
    file: str | None = None
    """An ONNX file."""
    module: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``package.module:factory``: code of the user's own that makes the graphs; see ``mmedge.families.module``. Needs ``--trust-code``."""
    options: dict[str, Any] = {}
    gate: TaskGate = TaskGate()
    train: Training | None = None
    """Its files are what it begins with: ``mmedge distill`` makes the checkpoint."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Model:
        if len(named := [name for name in ("files", "folder", "file", "module") if getattr(self, name)]) > 1:
            raise ValueError(f"{named[0]} and {named[1]} exclude each other")
        return self

    @field_serializer("folder", "file")
    def _last_part(self, path: str | None) -> str | None:
        """What is written down, in a bundle too, does not tell where on whose disk it was."""
        return Path(path).name if path and Path(path).is_absolute() else path

    def settings(self) -> dict[str, Any]:
        """What the family is given: the options, and the module's name."""
        return {**self.options, "module": self.module} if self.module else self.options

    def below(self, folder: Path) -> Model:
        """With its path made absolute."""
        return self.model_copy(update={key: str(folder / Path(path).expanduser()) for key in ("folder", "file") if (path := getattr(self, key))})


class Scene(Document):
    """A picture and what is asked in front of it, for ``mmedge demo``."""

    picture: str
    """A name in ``[media]``."""
    questions: tuple[str, ...] = Field(min_length=1)


class Recipe(Document):
    """What to make (schema ``mmedge.recipe/1``, ``recipes/NAME.toml``): one model, or a whole assistant."""

    schema_: Literal["mmedge.recipe/1"] = Field(default="mmedge.recipe/1", alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    summary: str = ""
    models: dict[str, Model] = Field(min_length=1)
    """By role. An assistant's roles: ``vad``, ``ears``, ``eyes``, ``voice``."""
    media: dict[str, Download] = {}
    demo: tuple[Scene, ...] = ()

    @field_validator("models")
    @classmethod
    def _are_names(cls, models: dict[str, Model]) -> dict[str, Model]:
        if bad := [role for role in models if not re.fullmatch(r"[a-z][a-z0-9_-]*", role)]:
            raise ValueError(f"the role {bad[0]!r} is no name: roles become folders of the bundle")
        return models

    @classmethod
    def load(cls, what: str) -> Recipe:
        """By name or by path. Raises MmedgeError: unknown (with the nearest name), or a broken file."""
        path = catalog.find("recipes", what)
        recipe = read_toml(path, cls)
        return recipe.model_copy(update={"models": {role: model.below(path.parent) for role, model in recipe.models.items()}})


class Recipes(Document):
    """Every recipe (schema ``mmedge.recipes/1``)."""

    schema_: Literal["mmedge.recipes/1"] = Field(default="mmedge.recipes/1", alias="schema")
    recipes: tuple[Recipe, ...]


def recipes() -> Recipes:
    """All that are shipped. Raises MmedgeError: one of the files is broken."""
    return Recipes(recipes=tuple(map(Recipe.load, catalog.names("recipes"))))
