"""Models that are ONNX already: one file, or a folder as ``optimum-cli export onnx`` writes it.

=============  ==========================================================  =================================================  ======================
kind           files (in the folder, or in its ``onnx/``)                  graphs                                             verbs
=============  ==========================================================  =================================================  ======================
``speech``     encoder_model, decoder_model_merged (or decoder_model and   ``encoder``, ``cross``, ``decoder``                transcribe, run
               decoder_with_past_model), of Whisper
``captioner``  the same, of a vision encoder-decoder                       ``encoder``, often ``cross``, ``decoder``          caption, run
``chat``       model (or decoder_model_merged) with past_key_values        ``language``                                       chat, run
``dual``       model of CLIP; or text_model and vision_model               ``image_encoder``, ``text_encoder``                embed_*, classify, run
``classifier`` model with logits over a picture, a text or a sound         ``classifier``                                     classify, run
``plain``      everything else: any \\*.onnx                                by their files' names                              run
=============  ==========================================================  =================================================  ======================

Decoders are rewritten to ``mmedge.generate.cache``'s names: the If node of a merged one is replaced by its branch with a past, which also reads the prompt,
after a past of length 0; what an encoder's states become in every layer's cross-attention is computed once, by ``cross``. Export holds each rewritten decoder
against the files as they were, step by step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.processors.fbank import FbankSettings
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings
from mmedge.processors.waveform import WaveformSettings

ARCHITECTURES: tuple[str, ...] = ()
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "features", "transcribe", "caption", "chat", "classify", "embed_image", "embed_text")


class Options(Document):
    """What a recipe may set."""

    graph: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    """What to call the one graph of a file; by default the file's own name."""
    inputs: dict[str, str] = {}
    """What to call inputs: the file's name -> the new one."""
    outputs: dict[str, str] = {}
    """And outputs."""
    sizes: dict[str, int] = {}
    """Golden inputs are random numbers; these are the sizes of dynamic dimensions, by name. By default 2, and 1 for those called batch."""
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}$")
    """What a multilingual recogniser hears."""


class Config(Document):
    """What was found out."""

    kind: Literal["speech", "captioner", "chat", "dual", "classifier", "plain"]
    graphs: tuple[str, ...] = Field(min_length=1)
    takes: Literal["image", "text", "audio", ""] = ""
    """Of a classifier."""
    image: ImageSettings | None = None
    text: TextSettings | None = None
    waveform: WaveformSettings | None = None
    fbank: FbankSettings | None = None
    mels: int = 0
    tokenizer: bool = False
    template: bool = False
    special: dict[str, str] = {}
    """``bos_token`` and so on, for the template."""
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    """Cosines are multiplied by it before they become probabilities."""
    start: tuple[int, ...] = ()
    """The prompt of a decoder that listens or sees."""
    stop: tuple[int, ...] = ()
    suppress: tuple[int, ...] = ()
    suppress_first: tuple[int, ...] = ()
    limit: int = Field(default=0, ge=0)
    """The most tokens of one text, prompt included."""
    at_once: bool = True
    """Whether the decoder reads several tokens in one run; some were traced for one."""


def graphs(config: Config) -> tuple[str, ...]:
    return config.graphs


def assets(config: Config) -> tuple[str, ...]:
    return (*(("tokenizer.json",) if config.tokenizer else ()), *(("chat_template.jinja",) if config.template else ()))


def verbs(config: Config) -> tuple[str, ...]:
    """Of its kind. A classifier's input says which of the processors it has."""
    kinds = {"speech": ("features", "transcribe"), "captioner": ("pixels", "caption"), "chat": ("chat",), "plain": ()}
    return {**kinds, "dual": ("pixels", "embed_image", "embed_text", "classify"), "classifier": ("pixels", "features", "classify")}[config.kind]


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    sees, reads = (config.image is not None, "image processor"), (config.tokenizer, "tokenizer")
    hears = (config.fbank is not None or config.waveform is not None, "feature extractor")
    takes = {"image": sees, "text": (config.text is not None, "tokenizer"), "audio": hears, "": reads}[config.takes]
    of_kind: dict[str, dict[str, tuple[tuple[bool, str], ...]]] = {
        "speech": {"transcribe": (reads,)},
        "captioner": {"caption": (sees, reads)},
        "chat": {"chat": (reads,)},
        "dual": {"embed_image": (sees,), "embed_text": (reads,), "classify": (sees, reads)},
        "classifier": {"classify": (takes,)},
        "plain": {},
    }
    needs = of_kind[config.kind]
    parts = {part: None for wanted in needs.values() for there, part in wanted if not there}
    return {part: tuple(verb for verb, wanted in needs.items() if (False, part) in wanted) for part in parts}


def takes(folder: Path) -> bool:
    """A folder with ONNX files and no weights of another kind."""
    weights = any(path.suffix in (".safetensors", ".bin", ".pt", ".pth") for path in folder.glob("*") if path.name != "training_args.bin")
    return not weights and any(any(where.glob("*.onnx")) for where in (folder, folder / "onnx"))
