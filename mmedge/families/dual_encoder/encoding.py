"""Texts through the torch module: what the session does with a runner. Part of export: torch allowed."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.families.dual_encoder import Config
from mmedge.need import need
from mmedge.processors.text import TextProcessor
from mmedge.tensors import Array

BATCH = 100


class TextEncoder:
    """A text tower with its tokenizer, whose settings are in ``config.text``."""

    def __init__(self, config: Config, module: Any, tokenizer: bytes) -> None:
        assert config.text is not None
        self._config, self._module, self._torch = config, module.eval(), need("torch", extra="build")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "tokenizer.json"
            path.write_bytes(tokenizer)
            self.processor = TextProcessor(path, config.text)

    def tensors(self, texts: list[str]) -> dict[str, Any]:
        """What the tower takes, as torch tensors."""
        arrays = self.processor(texts)
        return {name: self._torch.from_numpy(arrays[name]) for name in self._config.text_inputs}

    def __call__(self, texts: list[str]) -> Array:
        """float32 [B, D]; texts of like length go together."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows: list[Any] = [None] * len(texts)
        with self._torch.inference_mode():
            for begin in range(0, len(order), BATCH):
                chosen = order[begin : begin + BATCH]
                for index, row in zip(chosen, self._module(**self.tensors([texts[at] for at in chosen])).numpy()):
                    rows[index] = row
        return np.stack(rows)


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return buffer.getvalue()
