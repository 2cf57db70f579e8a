"""A Piper voice in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.voice import Config
from mmedge.need import need
from mmedge.runner import Runner
from mmedge.tensors import Array

Samples = NDArray[np.float32]

BEGIN, PAD, END = "^", "_", "$"


class Session:
    """``varied=False`` turns the voice's randomness off: the same text then gives the same samples, bit for bit."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self._runner = runners["voice"]
        self._config = config
        self.rate_hz = config.rate_hz

    def phoneme_ids(self, text: str) -> list[list[int]]:
        """The phonemes of each sentence as the model's numbers. Phonemes that the voice lacks are left out, as Piper does.

        Raises:
            NotInstalled: piper-tts, which brings espeak-ng, is missing.
        """
        espeak = need("piper.phonemize_espeak", extra="assistant")
        clusters = {tuple(cluster) for cluster in self._config.vowel_clusters}
        only_newer = {"vowel_clusters": clusters} if clusters else {}  # piper-tts 1.3 has no such argument, and voices of its time no clusters
        sentences = espeak.EspeakPhonemizer().phonemize(self._config.espeak_voice, text, **only_newer)
        return [ids_of(sentence, self._config.phoneme_ids) for sentence in sentences if sentence]

    def synthesize(self, ids: Sequence[int], *, varied: bool = True) -> Samples:
        """One sentence as sound, float32 [n] at ``rate_hz``, from its ids. Needs no piper-tts."""
        output = self._runner.run(feeds_for(ids, self._config, varied=varied))["output"]
        return np.clip(output, -1.0, 1.0).astype(np.float32).reshape(-1)

    def stream(self, text: str, *, varied: bool = True) -> Iterator[Samples]:
        """Sound of one sentence after another, each as soon as it is made: begin with a short sentence and it will be heard early.

        Raises:
            MmedgeError: nothing in the text can be spoken. NotInstalled: piper-tts is missing.
        """
        sentences = self.phoneme_ids(text)
        if not sentences:
            raise MmedgeError(f"there is nothing to say in {text!r}", "give it words")
        for ids in sentences:
            yield self.synthesize(ids, varied=varied)

    def speak(self, text: str, *, varied: bool = True) -> tuple[Samples, int]:
        """The whole text as sound, float32 [n], and its rate in Hz. Raises as ``stream`` does."""
        return np.concatenate(list(self.stream(text, varied=varied))), self.rate_hz


def ids_of(phonemes: Sequence[str], table: Mapping[str, Sequence[int]]) -> list[int]:
    """Begin mark, every phoneme followed by a pad, end mark: the input that Piper voices are trained on."""
    ids = [*table[BEGIN], *table[PAD]]
    for phoneme in phonemes:
        if phoneme in table:
            ids += [*table[phoneme], *table[PAD]]
    return [*ids, *table[END]]


def feeds_for(ids: Sequence[int], config: Config, *, varied: bool) -> dict[str, Array]:
    """The graph's inputs for one sentence."""
    scales = (config.noise_scale, config.length_scale, config.noise_width) if varied else (0.0, config.length_scale, 0.0)
    feeds: dict[str, Array] = {
        "input": np.asarray([ids], np.int64),
        "input_lengths": np.asarray([len(ids)], np.int64),
        "scales": np.asarray(scales, np.float32),
    }
    if config.speaker is not None:
        feeds["sid"] = np.asarray([config.speaker], np.int64)
    return feeds
