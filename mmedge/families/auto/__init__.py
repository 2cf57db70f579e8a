"""Every other architecture of transformers: what ``transformers.exporters`` can export, as named graphs that are run by name.

A model that only computes is one graph, ``model``. One that generates is ``prefill`` and ``decode``; beside them ``encoder`` where it has one, or, where it
sees or hears, ``image_encoder``, ``audio_encoder``, ``multi_modal_projector``, ``language_model``, ``lm_head`` as transformers takes it apart.
Tensors have the names of ``forward``'s arguments and of its output's fields; caches those of ``mmedge.generate.cache``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedge.documents import Document

ARCHITECTURES: tuple[str, ...] = ()
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("run",)


class Options(Document):
    """Nothing is left to choose: the checkpoint says it all."""


class Config(Document):
    """What was found out."""

    architecture: str
    examples: Literal["processor", "rule"]
    """Whether golden inputs are real media in the form of the checkpoint's own processor, or random numbers in the shapes of its config."""
    graphs: tuple[str, ...] = Field(min_length=1)


def graphs(config: Config) -> tuple[str, ...]:
    return config.graphs


def assets(config: Config) -> tuple[str, ...]:
    return ()
