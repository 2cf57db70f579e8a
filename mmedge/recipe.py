"""A recipe says what to make: models, where their files come from, options. It never names a device."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from mmedge import catalog
from mmedge.documents import Document, read_toml

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class Download(Document):
    """One file, from the first source that has it; all sources are held to one checksum."""

    sources: tuple[str, ...] = Field(min_length=1)
    sha256: str = Sha256


class Model(Document):
    """One model: its family, and the files of its checkpoint by the names the family looks for."""

    family: str
    files: dict[str, Download] = {}
    folder: str | None = None
    """A checkpoint folder of the user's own, instead of ``files``."""
    options: dict[str, Any] = {}


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
        return read_toml(catalog.find("recipes", what), cls)


class Recipes(Document):
    """Every recipe (schema ``mmedge.recipes/1``)."""

    schema_: Literal["mmedge.recipes/1"] = Field(default="mmedge.recipes/1", alias="schema")
    recipes: tuple[Recipe, ...]


def recipes() -> Recipes:
    """All that are shipped. Raises MmedgeError: one of the files is broken."""
    return Recipes(recipes=tuple(map(Recipe.load, catalog.names("recipes"))))
