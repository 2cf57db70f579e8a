"""What the exports share, most of it for models that hear raw samples. Part of export: torch allowed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.speech.raw import RawSound
from mmedge.family import Case, Media
from mmedge.need import need
from mmedge.nets.checkpoint import tokenizer
from mmedge.processors.audio import Samples, sound_at
from mmedge.processors.waveform import WaveformSettings

EXTRACTOR = "Wav2Vec2FeatureExtractor"
LOWEST_HZ, HIGHEST_HZ = 1_000, 1_000_000
NAMES = ("question", "remark")
"""Of the golden sounds."""


def read_words(folder: Path) -> tuple[bytes, Any] | tuple[None, None]:
    """tokenizer.json, and the tokenizers.Tokenizer in it; nothing where the checkpoint brings none. Raises MmedgeError: it is damaged."""
    content = tokenizer(folder)
    if content is None:
        return None, None
    return content, need("tokenizers", extra="build").Tokenizer.from_buffer(content)


def read_sound(folder: Path, least: int, *, normalise: bool) -> RawSound:
    """What the checkpoint's preprocessor says, or a guess where it has none. Raises MmedgeError: it is damaged, or of another kind."""
    path = folder / "processor_config.json"
    content = read_plain(path, required=False).get("feature_extractor")
    if content is None:
        path = folder / "preprocessor_config.json"
        content = read_plain(path, required=False)
    if not content:
        return RawSound(settings=WaveformSettings(normalise=normalise), told=False, least=least)
    if not isinstance(content, dict) or content.get("feature_extractor_type", EXTRACTOR) != EXTRACTOR or content.get("feature_size", 1) != 1:
        raise MmedgeError(f"{path} describes no {EXTRACTOR} of one channel", "get the preprocessor that belongs to the checkpoint")
    settings = WaveformSettings.from_extractor(content)
    if not LOWEST_HZ <= settings.rate_hz <= HIGHEST_HZ:
        raise MmedgeError(f"{path} has a rate of {settings.rate_hz} Hz", "get the preprocessor that belongs to the checkpoint")
    return RawSound(settings=settings, told=True, least=least)


def sounds(media: Media, sound: RawSound, longest_s: float) -> Iterator[tuple[str, Samples]]:
    """The golden sounds, as cases name them, at the model's rate; what is longer than a piece is cut off."""
    for name in NAMES:
        yield f"@{name}", sound_at(media[name], sound.settings.rate_hz)[: int(longest_s * sound.settings.rate_hz)]


def examples(media: Media, sound: RawSound) -> tuple[Any, Any]:
    """torch tensors: both golden sounds cut to the shorter one's length [2, samples], and the whole of the longer one [1, samples]."""
    torch = need("torch", extra="build")
    values = [torch.from_numpy(sound(sound_at(media[name], sound.settings.rate_hz))) for name in NAMES]
    length = min(one.shape[1] for one in values)
    return torch.cat([one[:, :length] for one in values]), max(values, key=lambda one: int(one.shape[1]))


def their_values(samples: Samples, sound: RawSound) -> Any:
    """What transformers' own feature extractor makes of samples [n]: torch tensors by name."""
    extractor = need("transformers", extra="build").Wav2Vec2FeatureExtractor(
        sampling_rate=sound.settings.rate_hz, do_normalize=sound.settings.normalise, return_attention_mask=False
    )
    return extractor(samples, sampling_rate=sound.settings.rate_hz, return_tensors="pt")


def feature_cases(media: Media, sound: RawSound, longest_s: float) -> list[Case]:
    """None where the checkpoint brought no preprocessor."""
    if not sound.told:
        return []
    source = f"transformers {metadata.version('transformers')} {EXTRACTOR}"
    return [
        Case("processor", "features", {"sound": name}, their_values(samples, sound).input_values.numpy(), source, atol=1e-5)
        for name, samples in sounds(media, sound, longest_s)
    ]
