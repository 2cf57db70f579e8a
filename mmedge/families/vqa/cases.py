"""What transformers answers about the golden pictures. Part of export: torch allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from mmedge.families.vqa import Config
from mmedge.family import Case, Media
from mmedge.generate.decode import until_loop
from mmedge.need import need
from mmedge.processors.image import Picture, load_image

TOKENS = 20
QUESTIONS = (("cat", "text_3"), ("coffee", "text_3"), ("cat", "text_2"))


def reference_pixels(folder: Path, pictures: list[Picture]) -> dict[str, Any]:
    """What the image processor of transformers makes of a checkpoint's own settings, its Pillow-based form."""
    processor = need("transformers", extra="build").AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return dict(processor(images=[Image.fromarray(load_image(picture)) for picture in pictures], return_tensors="np"))


def reference_words(folder: Path, texts: list[str]) -> dict[str, Any]:
    """What transformers' tokenizer makes of texts: ``input_ids`` and ``attention_mask`` [B, T]."""
    tokenizer = need("transformers", extra="build").AutoTokenizer.from_pretrained(folder, local_files_only=True)
    made = tokenizer(texts, padding=True, return_tensors="np")
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def reference_tokens(model: Any, inputs: dict[str, Any], max_tokens: int = TOKENS) -> list[int]:
    """Greedy tokens of transformers' own ``generate`` for one question, without the start and the stop token."""
    torch = need("torch", extra="build")
    text = model.config.text_config
    with torch.no_grad():
        tokens: list[int] = model.generate(
            **{name: torch.as_tensor(value) for name, value in inputs.items()}, num_beams=1, do_sample=False, max_new_tokens=max_tokens
        )[0].tolist()
    tokens = tokens[1:]
    return tokens[: tokens.index(text.sep_token_id)] if text.sep_token_id in tokens else tokens


def reference_chances(model: Any, inputs: dict[str, Any]) -> Any:
    """float64 [labels]: what ViLT's own forward gives for one question."""
    torch = need("torch", extra="build")
    with torch.no_grad():
        return model(**{name: torch.as_tensor(value) for name, value in inputs.items()}).logits[0].double().sigmoid().numpy()


def golden_cases(model: Any, config: Config, folder: Path, words: bytes | None, processor: dict[str, Any] | None, media: Media) -> list[Case]:
    """Pixels, tokens, and answers to three questions, as far as the checkpoint brings what they need."""
    source = f"transformers {need('transformers', extra='build').__version__}"
    cases: list[Case] = []
    if processor is not None:
        pixels = {name: np.asarray(value) for name, value in reference_pixels(folder, [media["cat"]]).items()}
        if config.writer is None:
            pixels.setdefault("pixel_mask", np.ones((1, *pixels["pixel_values"].shape[2:]), np.int64))
        cases.append(Case("processor", "pixels", {"image": "@cat"}, pixels, source=source, atol=1e-5))
    if words is not None:
        texts = ["text_2", "text_3"]
        tokens = reference_words(folder, [media[name] for name in texts])
        cases.append(Case("processor", "tokens", {"text": [f"@{name}" for name in texts]}, tokens, source=source, atol=0))
    if processor is None or words is None:
        return cases
    for picture, text in QUESTIONS:
        inputs = {**reference_words(folder, [media[text]]), **reference_pixels(folder, [media[picture]])}
        args = {"image": f"@{picture}", "question": f"@{text}"}
        if config.writer is None:
            chances = reference_chances(model, inputs)
            best = np.argsort(-chances, kind="stable")[:3]
            cases.append(Case("verb", "scores", {**args, "top": 3}, [[model.config.id2label[int(at)], float(chances[at])] for at in best], source, 1e-3))
            cases.append(Case("verb", "answer", args, model.config.id2label[int(best[0])], source))
            continue
        written = reference_tokens(model, inputs)
        cases.append(Case("verb", "answer_tokens", {**args, "max_tokens": TOKENS}, until_loop(written), f"{source} generate, greedy"))
        if len(written) < TOKENS and until_loop(written) == written:
            said = Tokenizer.from_buffer(words).decode(written, skip_special_tokens=True)
            cases.append(Case("verb", "answer", args, said, f"{source} generate, greedy"))
    return cases
