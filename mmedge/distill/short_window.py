"""A Whisper that hears less at a time, and what it writes of a sound."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmedge.documents import read_plain, replace_file
from mmedge.errors import MmedgeError
from mmedge.families.speech import Options
from mmedge.families.speech.whisper.checkpoint import FRAMES_PER_S, Checkpoint, read_checkpoint
from mmedge.families.speech.whisper.session import MARGIN_S, TOKENS_PER_S, TOKENS_SPARE
from mmedge.generate.decode import Decoded, Sampling, decode
from mmedge.need import need
from mmedge.nets.weight_files import refuse_bad_numbers
from mmedge.processors.audio import Samples
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.training import SpeechNetwork


@dataclass(frozen=True, eq=False)
class Ears:
    """A Whisper of transformers, with the window that it hears."""

    checkpoint: Checkpoint
    window_s: int

    @property
    def longest(self) -> int:
        """Samples of a sound that fits into the window with the silence that must follow it."""
        return int((self.window_s - MARGIN_S) * RATE_HZ)

    @property
    def places(self) -> int:
        """Tokens that anybody could say in the window, with the one that ends them."""
        return min(ceil(self.window_s * TOKENS_PER_S) + TOKENS_SPARE, self.checkpoint.config.max_tokens - len(self.checkpoint.config.prompt))

    def features(self, samples: Samples) -> torch.Tensor:
        """float32 [n] at 16 kHz -> float32 [1, mels, frames]."""
        return torch.from_numpy(LogMel(self.checkpoint.config.mels)(samples, self.window_s))

    def write(self, samples: Samples) -> Decoded:
        """The likeliest words, to where a loop is noticed, or more is written than anybody could say in the time. float32 [n] at 16 kHz."""
        model, config = self.checkpoint.model, self.checkpoint.config
        features = self.features(samples).to(model.proj_out.weight.device)
        with torch.inference_mode():
            given: dict[str, Any] = {"encoder_outputs": model.model.encoder(features), "past_key_values": None}

            def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
                found = model(decoder_input_ids=torch.from_numpy(tokens)[None].to(features.device), use_cache=True, **given)
                given["past_key_values"] = found.past_key_values
                logits: NDArray[np.float32] = found.logits[0, -1].float().cpu().numpy()
                return logits

            limit = min(ceil(len(samples) / RATE_HZ * TOKENS_PER_S) + TOKENS_SPARE, self.places)
            return decode(
                step,
                config.prompt,
                stop=frozenset([config.stop]),
                sampling=Sampling(max_tokens=limit),
                suppress=config.suppress,
                suppress_first=config.suppress_first,
            )

    def words(self, decoded: Decoded) -> str:
        """As text."""
        text: str = self.checkpoint.words.decode(list(decoded.tokens), skip_special_tokens=True)
        return text.strip()

    def having(self, model: Any) -> Ears:
        """The same with other weights."""
        return replace(self, checkpoint=replace(self.checkpoint, model=model.eval()))


def read_ears(folder: Path, asked: SpeechNetwork) -> Ears:
    """With the window of its training. Raises MmedgeError: no Whisper, damaged, without a tokenizer, or it does not know the language."""
    checkpoint = read_checkpoint(folder, Options(language=asked.language))
    if checkpoint.words is None:
        raise MmedgeError(f"{folder} has no tokenizer.json", "add it to the model's files")
    return Ears(checkpoint, checkpoint.trained_s)


def shortened(ears: Ears, window_s: int) -> Ears:
    """The same weights without the positions behind a window. Raises MmedgeError: it never heard so much."""
    if window_s > ears.window_s or window_s <= MARGIN_S:
        raise MmedgeError(
            f"a window of {window_s} s was asked for, and the model hears {ears.window_s} s",
            f"set window_s in [models.ROLE.train.network]: from {int(MARGIN_S) + 1} to {ears.window_s}",
        )
    model = copy.deepcopy(ears.checkpoint.model)
    encoder, positions = model.model.encoder, window_s * FRAMES_PER_S
    encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions].detach().clone(), freeze=True)
    model.config.max_source_positions = encoder.config.max_source_positions = encoder.max_source_positions = positions
    return replace(ears, checkpoint=replace(ears.checkpoint, model=model), window_s=window_s)


def save_ears(folder: Path, ears: Ears, begun: Path) -> None:
    """As transformers has it; files that are there are replaced, each whole or not at all, config.json last.

    Args:
        begun: the files that the model began with: what they say of generation and the tokenizer stays.

    Raises:
        MmedgeError: NaN or infinity among the weights, or the folder cannot be written.
    """
    model, config = ears.checkpoint.model, ears.checkpoint.config
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items() if name != "proj_out.weight"}
    refuse_bad_numbers("the adapted Whisper", weights.items())
    folder.mkdir(parents=True, exist_ok=True)
    content = need("safetensors.torch", extra="build").save(weights, {"format": "pt"})
    replace_file(folder / "model.safetensors", content)
    extractor = need("transformers", extra="build").WhisperFeatureExtractor(feature_size=config.mels, chunk_length=ears.window_s)
    _json(folder / "preprocessor_config.json", extractor.to_dict())
    told = read_plain(begun / "generation_config.json", required=False) or {
        "begin_suppress_tokens": list(config.suppress_first),
        "bos_token_id": config.stop,
        "decoder_start_token_id": config.prompt[0],
        "eos_token_id": config.stop,
        "is_multilingual": len(config.prompt) > 2,
        "max_length": config.max_tokens,
        "no_timestamps_token_id": config.prompt[-1],
        "pad_token_id": config.stop,
        "suppress_tokens": list(config.suppress),
    }
    _json(folder / "generation_config.json", told)
    if ears.checkpoint.tokenizer is not None:
        replace_file(folder / "tokenizer.json", ears.checkpoint.tokenizer)
    if named := read_plain(begun / "tokenizer_config.json", required=False):
        _json(folder / "tokenizer_config.json", named)
    said = {**model.config.to_dict(), "architectures": ["WhisperForConditionalGeneration"], "dtype": "float32"}
    special = {"decoder_start_token_id": config.prompt[0], "eos_token_id": config.stop, "bos_token_id": config.stop, "pad_token_id": config.stop}
    _json(folder / "config.json", {**said, **special})


def _json(path: Path, content: Any) -> None:
    file = io.StringIO()
    json.dump(content, file, indent=2, sort_keys=True)
    replace_file(path, (file.getvalue() + "\n").encode())
