"""Golden data of processors and verbs: by transformers' own processors and ``forward`` where there are such. Part of export: torch allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

from mmedge.errors import MmedgeError, first_line
from mmedge.families.dual_encoder import SIGMOID, Config
from mmedge.families.dual_encoder.encoding import TextEncoder
from mmedge.families.dual_encoder.session import CONSE_CLASSES
from mmedge.family import Case, Media
from mmedge.need import need
from mmedge.processors.audio import sound_at
from mmedge.processors.text import TextSettings
from mmedge.tensors import Array

TEXTS, PICTURES, SOUNDS = ("text_1", "text_2", "text_3"), ("cat", "coffee"), ("question", "remark")
SPELT = ["sphinx of black quartz", "judge my vow", "lazy foxes jump & hide!", "0123456789"]
"""Every letter and digit, in the middle of words and at their ends: a tokenizer of another version may differ in a few."""


def tower_cases(config: Config, model: Any, folder: Path, media: Media, tokens: Mapping[str, Any], feeds: Mapping[str, Any]) -> list[Case]:
    """What transformers makes of the golden media with this checkpoint; only what its session can do.

    Args:
        tokens, feeds: torch tensors, what stands in where the checkpoint has no tokenizer, or no processor.
    """
    torch, source = need("torch", extra="build"), f"transformers {metadata.version('transformers')}"
    hears, texts = config.kind == "clap", [media[name] for name in TEXTS]
    told = config.sound if hears else config.image
    key = "sound" if hears else "image"
    prepared: dict[str, Any] = {} if told is None else _heard(config, folder, media) if hears else _seen(folder, media)
    with torch.no_grad():
        found = {name: model(**one, **tokens) for name, one in (prepared or {"": feeds}).items()}
    cases = []
    if config.text is not None:
        read = [*texts, *SPELT]
        cases.append(Case("processor", "tokens", {"text": read}, _tokens(config.text, folder, read), source=source, atol=0))
        cases.append(Case("verb", "embed_text", {"text": texts}, next(iter(found.values())).text_embeds.numpy(), source=source))
    if not prepared:
        return cases
    call = "log_mel" if hears else "patches" if config.kind == "siglip2" else "pixels"
    first = next(iter(prepared))
    arrays = {name: value.numpy() for name, value in prepared[first].items()}
    cases.append(Case("processor", call, {key: f"@{first}"}, arrays["pixel_values"] if call == "pixels" else arrays, source=source, atol=1e-4))
    for name, output in found.items():
        embedding, logits = (output.audio_embeds, output.logits_per_audio) if hears else (output.image_embeds, output.logits_per_image)
        cases.append(Case("verb", "embed_audio" if hears else "embed_image", {key: f"@{name}"}, embedding[0].numpy(), source=source))
        if config.text is not None:
            likely = logits[0].sigmoid() if config.kind in SIGMOID else logits[0].softmax(-1)
            cases.append(_classified(likely, f"@{name}", texts, source))
    return cases


def joined_cases(
    config: Config, image: Any, encoder: TextEncoder, classes: Array, labels: list[str], pixels: Mapping[str, Array], texts: list[str]
) -> list[Case]:
    """The same with the two torch modules: no library joins them."""
    torch = need("torch", extra="build")
    seen, embeddings = [], {}
    for name, values in pixels.items():
        with torch.inference_mode():
            chances, best = image(torch.from_numpy(values))[0].softmax(-1).topk(CONSE_CLASSES)
            embeddings[name] = torch.nn.functional.normalize(chances @ torch.from_numpy(classes)[best], dim=-1)
        likeliest = [[labels[int(best[0])], float(chances[0])]]
        seen.append(Case("verb", "recognise", {"image": f"@{name}", "top": 1}, likeliest, source=_torch(), atol=1e-3))
    return [*own_cases(config, encoder, embeddings, pixels, texts), *seen]


def own_cases(config: Config, encoder: TextEncoder, embeddings: Mapping[str, Any], pixels: Mapping[str, Array], texts: list[str]) -> list[Case]:
    """Of a model that no other library has. ``embeddings``: of each golden picture by the torch module, [D]."""
    torch = need("torch", extra="build")
    read, embedded, source = [*texts, *SPELT], encoder(texts), _torch()
    cases = [
        Case("processor", "pixels", {"image": "@cat"}, pixels["cat"], source=f"Pillow {metadata.version('Pillow')}", atol=1e-5),
        Case("processor", "tokens", {"text": read}, encoder.processor(read), source=f"tokenizers {metadata.version('tokenizers')}", atol=0),
        Case("verb", "embed_text", {"text": texts}, embedded, source=source),
    ]
    for name, embedding in embeddings.items():
        scores = config.scale * (torch.from_numpy(embedded) @ embedding) + config.bias
        cases.append(Case("verb", "embed_image", {"image": f"@{name}"}, embedding.numpy(), source=source))
        cases.append(_classified(scores.sigmoid() if config.kind in SIGMOID else scores.softmax(-1), f"@{name}", texts, source))
    return cases


def _torch() -> str:
    return f"torch {metadata.version('torch')}, transformers {metadata.version('transformers')}"


def _classified(likely: Any, item: str, texts: Sequence[str], source: str) -> Case:
    order = likely.argsort(descending=True, stable=True)
    return Case("verb", "classify", {"item": item, "labels": list(texts)}, [[texts[int(at)], float(likely[at])] for at in order], source=source, atol=1e-3)


def _tokens(settings: TextSettings, folder: Path, texts: list[str]) -> dict[str, Array]:
    """What transformers' tokenizer makes of texts. A folder with a bare tokenizer.json may be of no class: then it is the plain one."""
    try:
        tokenizer = _own("AutoTokenizer", folder)
    except MmedgeError:
        tokenizer = need("transformers", extra="build").PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token=settings.pad_token)
    tokenizer.pad_token = settings.pad_token
    padding = "max_length" if settings.fixed else True
    found = tokenizer(texts, padding=padding, max_length=settings.length, truncation=True, return_attention_mask=True, return_tensors="np")
    return {name: found[name].astype("int64") for name in ("input_ids", "attention_mask")}


def _seen(folder: Path, media: Media) -> dict[str, dict[str, Any]]:
    """Each golden picture by itself, as transformers' own image processor prepares it."""
    torch, processor = need("torch", extra="build"), _own("AutoImageProcessor", folder)
    made = {name: processor(Image.open(media[name]), return_tensors="pt") for name in PICTURES}
    return {name: {part: value.to(torch.int64) if part == "pixel_attention_mask" else value for part, value in one.items()} for name, one in made.items()}


def _heard(config: Config, folder: Path, media: Media) -> dict[str, dict[str, Any]]:
    """Each golden sound by itself, as transformers' own feature extractor prepares it; its rate is changed by mmedge, as transformers does not.

    Not of sounds beyond the window: of those transformers draws pieces at random.
    """
    assert config.sound is not None
    processor, rate_hz = _own("AutoFeatureExtractor", folder), config.sound.rate_hz
    sounds = {name: sound_at(media[name], rate_hz) for name in SOUNDS}
    made = {
        name: processor(samples, sampling_rate=rate_hz, return_tensors="pt")
        for name, samples in sounds.items()
        if len(samples) <= config.sound.window_s * rate_hz
    }
    wanted = ("input_features", "is_longer") if config.sound.truncation == "fusion" else ("input_features",)
    return {name: {part: one[part] for part in wanted} for name, one in made.items()}


def _own(kind: str, folder: Path) -> Any:
    try:
        return getattr(need("transformers", extra="build"), kind).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # ValueError, OSError, KeyError, ImportError and more
        raise MmedgeError(
            f"transformers cannot make {folder}'s {kind[4:]}: {first_line(error)}", "get the preprocessor_config.json saved with the model"
        ) from error
