"""What transformers' own processors and ``generate`` make of pictures and messages. Part of export: torch allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.documents import read_plain
from mmedge.families.vlm import Config
from mmedge.families.vlm.prompt import Messages, Prompter
from mmedge.family import Case, Media
from mmedge.generate.decode import until_loop
from mmedge.generate.template import read_template
from mmedge.need import need
from mmedge.processors.image import load_image

TOKENS = 20


class Reference:
    """transformers, with the checkpoint's own tokenizer and settings. Pictures are read by mmedge: EXIF and transparency are no part of the comparison."""

    def __init__(self, folder: Path, config: Config, model: Any, *, takes_parts: bool = True) -> None:
        transformers = need("transformers", extra="build")
        self._config, self._model, self._takes_parts = config, model, takes_parts
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        said = read_plain(folder / "processor_config.json", required=False)
        raw = read_plain(folder / "preprocessor_config.json", required=False) or said.get("image_processor") or {}
        settings = {key: value for key, value in raw.items() if not key.endswith(("_type", "_class"))}
        found = read_template(folder)
        template = found.text if found else None
        if config.kind == "idefics3":
            assert config.tiles is not None
            images = transformers.Idefics3ImageProcessorPil(**{**settings, "do_image_splitting": config.tiles.split})
            # SmolVLM's own processor wants packages for films; in pictures and prompts it is the same.
            self._processor = transformers.Idefics3Processor(images, tokenizer, image_seq_len=config.image_tokens, chat_template=template)
        elif config.kind == "llava":
            kind = "Siglip" if "siglip" in str(raw.get("image_processor_type", "")).lower() else "CLIP"
            images = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
            vision = model.config.vision_config
            extra = 1 if vision.model_type == "clip_vision_model" else 0
            self._processor = transformers.LlavaProcessor(
                images,
                tokenizer,
                patch_size=vision.patch_size,
                vision_feature_select_strategy=model.config.vision_feature_select_strategy,
                chat_template=template,
                image_token=config.image_token,
                num_additional_image_tokens=extra,
            )
        else:
            assert config.patches is not None
            size = {"shortest_edge": config.patches.min_pixels, "longest_edge": config.patches.max_pixels}
            settings = {key: value for key, value in settings.items() if key not in ("min_pixels", "max_pixels")}
            images = transformers.Qwen2VLImageProcessorPil(**{**settings, "size": size})
            self._processor = without_films(transformers.Qwen3VLProcessor)(images, tokenizer, None, chat_template=template)

    def inputs(self, messages: Messages) -> Mapping[str, Any]:
        """What the processor makes of a chat, ready for ``generate``."""
        image = need("PIL.Image", extra="build")
        plain, pictures = [], []
        for message in messages:
            content = message["content"]
            parts: Sequence[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
            pictures += [image.fromarray(load_image(part["image"])) for part in parts if part["type"] == "image"]
            written = [{key: part[key] for key in ("type", "text") if key in part} for part in parts]
            plain.append({"role": message["role"], "content": written if self._takes_parts else "".join(part["text"] for part in written)})
        text = self._processor.apply_chat_template(plain, add_generation_prompt=True)
        begin = self._processor.tokenizer.bos_token
        add = not (begin and text.startswith(begin))
        made: Mapping[str, Any] = self._processor(text=[text], images=pictures or None, return_tensors="pt", add_special_tokens=add)
        return made

    def reply(self, messages: Messages, tokens: int = TOKENS) -> list[int]:
        """Greedy tokens, without the stop token, and no more than a loop of mmedge keeps."""
        torch, transformers = need("torch", extra="build"), need("transformers", extra="build")
        inputs = self.inputs(messages)
        settings = transformers.GenerationConfig(
            eos_token_id=list(self._config.stop) or None,
            pad_token_id=self._config.stop[0] if self._config.stop else 0,
            suppress_tokens=list(self._config.suppress) or None,
            do_sample=False,
            num_beams=1,
            max_new_tokens=tokens,
        )
        with torch.no_grad():
            made = self._model.generate(**inputs, generation_config=settings)[0, inputs["input_ids"].shape[1] :].tolist()
        return until_loop([token for token in made if token not in self._config.stop])

    def text(self, tokens: Sequence[int]) -> str:
        written: str = self._processor.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return written


def without_films(kind: Any) -> Any:
    """A processor class that does without its video processor, which wants torchvision even where there is no film."""

    def check(self: Any, name: str, argument: Any) -> Any:
        return None if name == "video_processor" else kind.check_argument_for_proper_class(self, name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def golden_cases(folder: Path, config: Config, model: Any, media: Media, prompter: Prompter | None) -> list[Case]:
    """Of every verb that the checkpoint brought the files for."""
    if prompter is None:
        return []
    reference = Reference(folder, config, model, takes_parts=prompter.takes_parts)
    source = f"transformers {need('transformers', extra='build').__version__}"
    short = {"sampling": {"max_tokens": TOKENS}}
    text = [{"role": "user", "content": media["text_3"]}]
    cases = [_tokens(reference, {"messages": text}, text, source)]
    cases.append(Case("verb", "chat", {"messages": text, **short}, reference.text(reference.reply(text)), f"{source} generate, greedy"))
    if config.processor and prompter.takes_pictures:
        about_cat, about_coffee = (
            [{"role": "user", "content": [{"type": "image", "image": media[name]}, {"type": "text", "text": question}]}]
            for name, question in (("cat", config.caption_prompt), ("coffee", media["text_3"]))
        )
        stored = [{"role": "user", "content": [{"type": "image", "image": "@cat"}, {"type": "text", "text": config.caption_prompt}]}]
        inputs = reference.inputs(about_cat)
        pixels = np.asarray(inputs["pixel_values"], np.float32)
        cases += [
            Case("processor", "pixels", {"image": "@cat"}, {"pixel_values": pixels[0] if config.kind == "idefics3" else pixels}, source, atol=1e-5),
            _tokens(reference, {"messages": stored}, about_cat, source),
            Case("verb", "caption", {"image": "@cat", **short}, reference.text(reference.reply(about_cat)), f"{source} generate, greedy"),
            Case(
                "verb",
                "answer",
                {"image": "@coffee", "question": "@text_3", **short},
                reference.text(reference.reply(about_coffee)),
                f"{source} generate, greedy",
            ),
        ]
    return cases


def _tokens(reference: Reference, args: dict[str, Any], messages: Messages, source: str) -> Case:
    return Case("processor", "tokens", args, np.asarray(reference.inputs(messages)["input_ids"][0], np.int64), source, atol=0)
