"""wav2vec2 or HuBERT with a CTC head -> one graph, and the labels of its frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError, first_line
from mmedge.families.speech import Config, CtcConfig, Options
from mmedge.families.speech.ctc.session import LONGEST_S
from mmedge.families.speech.parts import examples, feature_cases, read_sound, sounds, their_values
from mmedge.family import Allow, Case, Exported, Media, TorchGraph
from mmedge.generate.ctc import CtcSettings
from mmedge.nets.checkpoint import load
from mmedge.nets.wav2vec2 import Encoder, least_samples

TOKENS = 20
TOKENIZER = "Wav2Vec2CTCTokenizer"


def export_ctc(architecture: str, folder: Path, options: Options, media: Media, allow: Allow) -> Exported:
    """Raises MmedgeError: not such a checkpoint, incomplete or damaged."""
    model = load(architecture, folder, allow)
    reader = read_labels(folder)
    sound = read_sound(folder, least_samples(model.config.conv_kernel, model.config.conv_stride), normalise=True)
    config = CtcConfig(sound=sound, labels=_settings(reader) if reader else None)
    cases = _cases(model, config, reader, media)
    both, longer = examples(media, config.sound)
    graph = TorchGraph(
        Encoder(model).eval(),
        inputs={"input_values": both},
        outputs=("logits",),
        dynamic={"input_values": {0: "batch", 1: "samples"}},
        other={"input_values": longer},
    )
    labels = {"labels.json": json.dumps(reader.convert_ids_to_tokens(list(range(model.config.vocab_size)))).encode()} if reader else {}
    return Exported(graphs={"encoder": graph}, assets=dict(labels), config=Config(config), cases=cases)


def read_labels(folder: Path) -> Any:
    """transformers' Wav2Vec2CTCTokenizer, or None where the checkpoint brings none. Raises MmedgeError: it is damaged."""
    kind = read_plain(folder / "tokenizer_config.json", required=False).get("tokenizer_class", TOKENIZER)
    if not (folder / "vocab.json").is_file() or kind != TOKENIZER:
        return None
    try:
        reader = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder, local_files_only=True)
        if not all(isinstance(text, str) and isinstance(index, int) for text, index in reader.encoder.items()):
            raise ValueError("it maps no texts to numbers")
    except Exception as error:  # KeyError, ValueError, AttributeError and more, by what is wrong in its files
        raise MmedgeError(f"{folder / 'vocab.json'} cannot be read as {TOKENIZER}: {first_line(error)}", "get the tokenizer again") from error
    return reader


def _settings(reader: Any) -> CtcSettings:
    return CtcSettings(
        blank=str(reader.pad_token),
        delimiter=str(reader.word_delimiter_token),
        space=reader.replace_word_delimiter_char,
        lower=reader.do_lower_case,
        tidy=bool(reader.clean_up_tokenization_spaces),
    )


def reference(model: Any, config: CtcConfig, samples: Any) -> list[int]:
    """The likeliest label of each frame, by transformers' own processor and model."""
    with torch.no_grad():
        best: list[int] = model(**their_values(samples, config.sound)).logits[0].argmax(-1).tolist()
    return best


def _cases(model: Any, config: CtcConfig, reader: Any, media: Media) -> list[Case]:
    cases = feature_cases(media, config.sound, LONGEST_S)
    source = f"transformers {transformers.__version__} {type(model).__name__}"
    for sound, samples in sounds(media, config.sound, LONGEST_S):
        best = reference(model, config, samples)
        cases.append(Case("verb", "tokens", {"sound": sound, "max_tokens": TOKENS}, best[:TOKENS], source))
        if reader and config.sound.told:
            cases.append(Case("verb", "transcribe", {"sound": sound}, reader.decode(best), f"{source} and {TOKENIZER}.decode"))
    return cases
