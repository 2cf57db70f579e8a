"""TOML for people, JSON for machines: read strictly, refuse clearly, replace whole or not at all."""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmedge.errors import MmedgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

M = TypeVar("M", bound=BaseModel)


class Document(BaseModel):
    """Frozen, and nothing is in it that the schema does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Failure(Document):
    """What ``--json`` prints for an error (schema ``mmedge.error/1``)."""

    schema_: Literal["mmedge.error/1"] = Field(default="mmedge.error/1", alias="schema")
    status: int
    """The exit status."""
    error: str
    fix: str


def read_toml(path: Path, model: type[M]) -> M:
    """Read a recipe or a target. Raises MmedgeError: not there, not TOML, an unknown key (with the nearest), a wrong value."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # a ValueError: not TOML, not UTF-8, or a number of thousands of digits
        raise MmedgeError(f"{path} cannot be read as TOML: {error}", "correct the file") from error
    return validate(content, model, str(path))


def read_json(path: Path, model: type[M], *, fix: str) -> M:
    """Read a document that mmedge wrote: nobody is asked to correct it, so ``fix`` says how to get another.

    Raises MmedgeError as ``read_toml`` does, and for a schema version that is newer than this one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MmedgeError(f"{path} cannot be read as JSON: {error}", fix) from error
    return validate(content, model, str(path), fix=fix)


def read_plain(path: Path, kind: type = dict, *, required: bool = True) -> Any:
    """Read JSON that others wrote, such as a checkpoint's settings, as plain data.

    Args:
        kind: what its outermost value must be, dict or list.
        required: without it, a file that is not there is an empty ``kind``.

    Raises:
        MmedgeError: not there, not UTF-8, not JSON, or not a ``kind``.
    """
    if not required and not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise MmedgeError(f"{path} cannot be read as JSON: {said}", "get an undamaged checkpoint") from error
    if not isinstance(content, kind):
        wanted = "object" if kind is dict else "list"
        raise MmedgeError(f"{path} holds no JSON {wanted}", "get an undamaged checkpoint")
    return content


def validate(content: Any, model: type[M], where: str, *, fix: str = "correct that value") -> M:
    """Hold plain data against a model; the first thing wrong becomes one two-line error."""
    _check_schema(content, model, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A mistyped key is also a missing one: the first says more.
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys_beside(model, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
            raise MmedgeError(f"{where}: unknown key {place}", f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}") from error
        said = first["msg"].removeprefix("Value error, ")  # pydantic's, before what our own validators say
        raise MmedgeError(f"{where}: {place or 'document'}: {said}", fix) from error


def _check_schema(content: Any, model: type[BaseModel], where: str) -> None:
    declared = model.model_fields.get("schema_")
    if declared is None or not isinstance(content, dict):
        return
    kind, _, version = str(declared.default).partition("/")
    have_kind, _, have_version = str(content.get("schema", "")).partition("/")
    if have_kind != kind or not re.fullmatch("[0-9]{1,9}", have_version):
        raise MmedgeError(f"{where} is not a {kind} document (its schema is {content.get('schema')!r})", f"it should begin with schema {declared.default!r}")
    if int(have_version) > int(version):
        raise MmedgeError(f"{where} has schema {content['schema']}, this mmedge reads up to {declared.default}", "update mmedge: pip install -U mmedge")


def _keys_beside(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that exist at ``place``: walks the model's JSON Schema, because unions and dicts make its Python types hard to follow."""
    schema = model.model_json_schema()

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        if "anyOf" in node:  # an optional part: the alternative that is not null
            node = next((one for one in node["anyOf"] if "$ref" in one or "properties" in one), {})
        return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node

    here = schema
    for part in place:
        here = resolved(here)
        here = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part) or here.get("additionalProperties") or {}
    return sorted(resolved(here).get("properties", {}))


def dump_json(document: BaseModel) -> str:
    """The document as it is stored and printed: stable order, two spaces, one newline at the end."""
    return json.dumps(document.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def replace_file(path: Path, data: bytes) -> None:
    """Write aside, fsync, ``os.replace``: a reader sees the old file or the new one, whole.

    Raises:
        MmedgeError: no space, or no permission; the old file is untouched and nothing is left beside it.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> MmedgeError:
    """An operating system's refusal, as the user can act on it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MmedgeError(f"no space left to write {path}", f"free some space on that disk, or choose another folder ({error.strerror})")
    return MmedgeError(f"cannot write {path}: {error.strerror or error}", "choose a folder that you may write to")
