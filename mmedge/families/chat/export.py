"""Checkpoint -> one graph that reads a prompt and writes on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.chat import ARCHITECTURES, Config, Options
from mmedge.families.chat.session import encode, is_dated
from mmedge.family import Allow, Case, Exported, Media, TorchGraph
from mmedge.generate.decode import until_loop
from mmedge.generate.template import ChatTemplate, read_template
from mmedge.nets import checkpoint
from mmedge.nets.causal import Causal
from mmedge.nets.decoder import decoder_graph
from mmedge.nets.light import lighten

CONTEXT = 1024
"""Default length of a fixed cache: longer ones cost memory and time in every step."""
ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that are the same for every length of text."""
GOLDEN_TOKENS = 20
EXAMPLE_TOKENS = 14


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``language``; see the package for its tensors.

    Raises:
        MmedgeError: the checkpoint is damaged, or attends in a way that the graph cannot express.
    """
    model = checkpoint.load(checkpoint.architecture_in(folder, ARCHITECTURES, "is no causal language model"), folder, allow)
    limit = _limit(folder, model.config)
    context = options.context or min(limit, CONTEXT)
    if context > limit:
        raise MmedgeError(f"the option context is {context}, but {folder} takes {limit} tokens at most", f"make it {limit} or less")
    content, template = checkpoint.tokenizer(folder), read_template(folder)
    tokenizer = Tokenizer.from_str(content.decode()) if content else None
    config = Config(
        vocabulary=model.config.vocab_size,
        limit=limit,
        stop=_stop(folder, model.config, tokenizer),
        tokenizer=tokenizer is not None,
        template=template is not None,
        special=template.tokens if template else {},
    )
    assets: dict[str, bytes | Path] = {"tokenizer.json": content} if content else {}
    if template:
        assets["chat_template.jinja"] = template.text.encode()
    texts = [media[name] for name in ("text_3", "text_2", "text_1")]
    example = _example(config, tokenizer, texts[0])
    cases = _cases(folder, model, config, tokenizer, template, texts) if tokenizer else []
    lighten(model.model)  # after the reference has spoken in its own way
    return Exported(graphs={"language": _graph(model, context, example)}, assets=assets, config=config, cases=cases)


def _limit(folder: Path, sizes: Any) -> int:
    """The most tokens for which full causal attention is what the model does. Raises MmedgeError: there is no such length."""
    kinds = getattr(sizes, "layer_types", None)
    if other := sorted(set(kinds or ()) - {"full_attention", "sliding_attention"}):
        raise MmedgeError(f"{folder} attends by {other[0]}, which a causal mask cannot express", "use a model with full attention")
    turned = (getattr(sizes, "rope_parameters", None) or {}).get("rope_type", "default")
    if turned not in ROTATIONS:
        raise MmedgeError(f"{folder} turns positions by {turned}, which depends on the length of the text", f"use a model with one of: {', '.join(ROTATIONS)}")
    window = getattr(sizes, "sliding_window", None)
    slides = window and ("sliding_attention" in kinds if kinds is not None else True)
    return int(min(sizes.max_position_embeddings, window) if slides else sizes.max_position_embeddings)


def _stop(folder: Path, sizes: Any, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """What generation_config.json names, else config.json; and the tokenizer's own end, which in chats ends an answer."""
    named = read_plain(folder / "generation_config.json", required=False).get("eos_token_id", sizes.eos_token_id)
    ids = set(named if isinstance(named, list) else [named])
    end = read_plain(folder / "tokenizer_config.json", required=False).get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    if tokenizer and isinstance(end, str):
        ids.add(tokenizer.token_to_id(end))
    return tuple(sorted(one for one in ids if isinstance(one, int) and 0 <= one < sizes.vocab_size))


def _example(config: Config, tokenizer: Tokenizer | None, text: str) -> list[int]:
    """Tokens of a golden text; by rule where there is no tokenizer. They are repeated where the text is too short."""
    ids = tokenizer.encode(text).ids if tokenizer else [(7 * index * index + 3) % config.vocabulary for index in range(EXAMPLE_TOKENS)]
    _known(ids, config)
    return (ids * EXAMPLE_TOKENS)[:EXAMPLE_TOKENS]


def _known(tokens: Sequence[int], config: Config) -> None:
    if max(tokens, default=0) >= config.vocabulary:
        raise MmedgeError(f"the tokenizer has tokens beyond the model's {config.vocabulary}", "get the tokenizer that belongs to the checkpoint")


def _graph(model: Any, context: int, example: Sequence[int]) -> TorchGraph:
    sizes, ids = model.config, torch.tensor([example[: min(context, EXAMPLE_TOKENS)]])
    return decoder_graph(
        Causal(model),
        prompt={"input_ids": ids[:, :-2]},
        step={"input_ids": ids[:, -2:]},
        dynamic={"input_ids": {1: "tokens"}},
        layers=sizes.num_hidden_layers,
        heads=sizes.num_key_value_heads,
        head_dim=getattr(sizes, "head_dim", None) or sizes.hidden_size // sizes.num_attention_heads,
        context=context,
    )


def _cases(folder: Path, model: Any, config: Config, tokenizer: Tokenizer, template: ChatTemplate | None, texts: Sequence[str]) -> list[Case]:
    """Prompts as transformers makes them, and what its ``generate`` says to them. A template that writes the date gives other prompts every day: then
    the answers are those to the tokens of today's.
    """
    source, cases = f"transformers {metadata.version('transformers')}", []
    reference = _reference_tokenizer(folder)
    sampling = {"max_tokens": GOLDEN_TOKENS}
    for text in texts:
        tokens = encode(tokenizer, template, text)
        _known(tokens, config)
        if len(tokens) + GOLDEN_TOKENS > config.limit:
            continue
        answer = tokenizer.decode(generate(model, config.stop, tokens), skip_special_tokens=True)
        dated = template is not None and is_dated(template, text)
        args = {"tokens": tokens} if dated else {"messages": text}
        cases.append(Case("verb", "write_on" if dated else "chat", {**args, "sampling": sampling}, answer, f"{source} generate, greedy"))
        if reference and not dated:
            expected = (
                reference.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
                if template
                else reference(text)["input_ids"]
            )
            cases.append(Case("processor", "prompt", {"messages": text}, list(expected), f"{source} {type(reference).__name__}"))
    return cases


def generate(model: Any, stop: Sequence[int], tokens: Sequence[int], count: int = GOLDEN_TOKENS) -> list[int]:
    """What transformers' own ``generate`` adds to ``tokens``: greedy, without the stop token, cut where mmedge would notice a loop."""
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=count, eos_token_id=list(stop) or None, pad_token_id=stop[0] if stop else 0, use_cache=True
    )
    ids = torch.tensor([list(tokens)])
    with torch.no_grad():
        said: list[int] = model.generate(ids, attention_mask=torch.ones_like(ids))[0, ids.shape[1] :].tolist()
    return until_loop(said[: next((at for at, token in enumerate(said) if token in stop), len(said))])


def _reference_tokenizer(folder: Path) -> Any:
    """transformers' own, where it can make one of the folder."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
    except Exception:  # ValueError, OSError, ImportError and more: its config may lack what tokenizer.json alone does not need
        return None
