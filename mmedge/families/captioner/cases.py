"""What transformers makes of the golden pictures. Part of export: torch allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmedge.families.captioner import Config
from mmedge.family import Case, Media
from mmedge.generate.decode import until_loop
from mmedge.need import need
from mmedge.processors.image import Picture, load_image
from mmedge.processors.tokenizer import spread_ids

TOKENS = 20
PICTURES = ("cat", "coffee")


def reference_pixels(folder: Path, pictures: list[Picture]) -> Any:
    """float32 [B, 3, H, W]: what the image processor of transformers makes of a checkpoint's own settings, its Pillow-based form."""
    processor = need("transformers", extra="build").AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return processor(images=[Image.fromarray(load_image(picture)) for picture in pictures], return_tensors="np")["pixel_values"]


def reference_tokens(model: Any, config: Config, pixels: Any, prompt: list[int] | None = None, max_tokens: int = TOKENS) -> list[int]:
    """Greedy tokens of transformers' own ``generate`` for one picture [1, 3, H, W], without the prompt and the stop token.

    Args:
        prompt: with the start token; None for the start that ``generate`` makes itself.
    """
    torch = need("torch", extra="build")
    # What else a checkpoint may ask for (beams, penalties, banned repetitions) is no part of greedy decoding.
    plain = {"num_beams": 1, "do_sample": False, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "max_new_tokens": max_tokens}
    given = {}
    if prompt is not None:
        # BLIP's generate drops the last token, which its processor always makes [SEP].
        ids = [*prompt, 0] if config.architecture.startswith("Blip") else prompt
        given["decoder_input_ids" if config.architecture == "VisionEncoderDecoderModel" else "input_ids"] = torch.tensor([ids])
    with torch.no_grad():
        tokens: list[int] = model.generate(pixel_values=torch.as_tensor(pixels), **given, **plain)[0].tolist()
    tokens = tokens[len(prompt or config.start) :]
    return next((tokens[:index] for index, token in enumerate(tokens) if token in config.stop), tokens)


def golden_cases(model: Any, config: Config, folder: Path, words: bytes | None, processor: dict[str, Any] | None, media: Media) -> list[Case]:
    """Words of tokens from all over the vocabulary; pixels of a picture, tokens of both, and the words of those that end by themselves.

    Without an image processor, only the first; without a tokenizer, no words.
    """
    tokenizers, cases = need("tokenizers", extra="build"), []
    tokenizer = None if words is None else tokenizers.Tokenizer.from_buffer(words)
    if tokenizer:
        ids = spread_ids(tokenizer)
        cases.append(Case("processor", "words", {"tokens": ids}, tokenizer.decode(ids), f"tokenizers {tokenizers.__version__}"))
    if processor is None:
        return cases
    source = f"transformers {need('transformers', extra='build').__version__}"
    pixels = np.asarray(reference_pixels(folder, [media[name] for name in PICTURES]), np.float32)
    kind = processor.get("image_processor_type", "")
    cases.append(Case("processor", "pixels", {"image": "@cat"}, pixels[:1], source=f"{source} {kind}".strip(), atol=1e-5))
    for index, name in enumerate(PICTURES):
        tokens = reference_tokens(model, config, pixels[index : index + 1])
        cases.append(Case("verb", "caption_tokens", {"image": f"@{name}", "max_tokens": TOKENS}, until_loop(tokens), source=f"{source} generate, greedy"))
        if tokenizer and len(tokens) < TOKENS and until_loop(tokens) == tokens:
            text = tokenizer.decode([*config.start, *tokens], skip_special_tokens=True)
            cases.append(Case("verb", "caption", {"image": f"@{name}"}, text, source=f"{source} generate, greedy"))
    return cases
