"""Parts of an exported model, driven by what goes in and comes out of them: tensors are matched by name, else by rank and width."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

DTYPES = {"float": "float32", "double": "float64"}
ENCODED = ("last_hidden_state", "encoder_last_hidden_state", "encoder_hidden_states", "encoder_outputs.last_hidden_state", "hidden_states")


class Failed(Exception):
    """Why an export is not good."""


class Part:
    """One ONNX file."""

    def __init__(self, path: Path, root: Path) -> None:
        settings = ort.SessionOptions()
        settings.log_severity_level, settings.intra_op_num_threads = 4, 1
        self.name = str(path.relative_to(root))
        try:
            self.session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Failed(f"{self.name} does not load: {first_line(error)}") from error
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = {value.name: value for value in self.session.get_outputs()}
        self.past = {name: slot for name in self.inputs if (slot := cache_slot(name, "past"))}
        self.present = {name: slot for name in self.outputs if (slot := cache_slot(name, "past|present"))}
        self.tokens = next((name for name in ("inputs_embeds", "decoder_input_ids", "input_ids") if name in self.inputs), None)
        alone = next(iter(self.inputs)) if len(self.inputs) == 1 else ""
        self.words = "input_ids" if "input_ids" in self.inputs else alone if alone and "int" in self.inputs[alone].type else None

    def reads(self, names: tuple[str, ...]) -> bool:
        return any(name in self.inputs for name in names)

    def ends_in(self, width: int) -> str | None:
        """The output that scores the vocabulary."""
        return next((name for name, value in self.outputs.items() if name not in self.present and (name == "logits" or value.shape[-1:] == [width])), None)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        typed = {name: np.asarray(array).astype(_dtype(self.inputs[name].type)) for name, array in feeds.items()}
        return dict(zip(self.outputs, self.session.run(None, typed)))


def cache_slot(name: str, word: str) -> tuple[bool, int, str] | None:
    """(cross attention, layer, key or value) of an input or output that belongs to a cache; None for others."""
    numbers, kind = re.findall(r"\d+", name), re.findall(r"key|value", name.lower().replace("key_values", "").replace("key_value", ""))
    if not (re.search(word, name) and numbers and kind):
        return None
    return "cross" in name or ".encoder." in name, int(numbers[-1]), kind[-1]


def _dtype(kind: str) -> str:
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return DTYPES.get(inner, inner)


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


class Drive:
    """One input, on its way through the parts."""

    def __init__(self, parts: list[Part], given: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        self.parts, self.facts, self.given = parts, facts, given
        self.known = {name: array for name, array in given.items() if name != "prompt" and not name.startswith("host/")}
        self.made: dict[str, np.ndarray] = {}
        self.cache: dict[tuple[bool, int, str], np.ndarray] = {}
        self.length = 0

    def encode(self) -> None:
        """Run every part that neither scores a vocabulary nor has a cache, as soon as what it reads is there."""
        waiting = [part for part in self.parts if not part.past and not part.present and not self._generates(part)]
        for loosely in (False, True):
            progress = True
            while progress:
                progress = False
                for part in list(waiting):
                    feeds = {name: self._find(value, loosely) for name, value in part.inputs.items()}
                    if any(array is None for array in feeds.values()):
                        continue
                    waiting.remove(part)
                    progress = True
                    made = part.run({name: array for name, array in feeds.items() if array is not None})
                    self.made |= made
                    self.known |= made

    def _generates(self, part: Part) -> bool:
        return self.facts["kind"] == "generate" and part.ends_in(self.facts["vocabulary"]) is not None

    def _find(self, value: Any, loosely: bool) -> np.ndarray | None:
        """What an input takes: by its name; loosely, whatever is of its kind, rank and width."""
        name = value.name if value.name in self.known else value.name.rpartition(".")[2]
        if name in self.known and (found := fitted(self.known[name], value.shape)) is not None:
            return found
        if value.name in ENCODED and (named := [self.known[name] for name in ENCODED if name in self.known]):
            return named[0]
        if not loosely:
            return None
        if value.name.endswith("attention_mask") or value.name == "pixel_mask":
            like = self.known.get("pixel_values" if value.name == "pixel_mask" else "input_ids")
            return None if like is None else np.ones(like.shape[:1] + like.shape[-len(value.shape) + 1 :])
        if value.name == "token_type_ids" and "input_ids" in self.known:
            return np.zeros_like(self.known["input_ids"])
        kind = "f" if "float" in value.type else "i"
        offered = [*self.made.values(), *(array for name, array in self.given.items() if name.startswith("host/"))]
        fits = [array for array in offered if array.dtype.kind == kind and array.ndim == len(value.shape) and _size(value.shape[-1]) in (None, array.shape[-1])]
        return fits[-1] if fits else None

    def generate(self, count: int) -> list[int]:
        """Greedy tokens: the prompt through a part without a past, or one with an empty past; then token after token through one with a past."""
        self.encode()
        scoring = [part for part in self.parts if (part.present or self._generates(part)) and part.tokens]
        prompts = sorted((part for part in scoring if part.present), key=lambda part: bool(part.past))
        steps = [part for part in scoring if part.past and part.present]
        if not steps:
            raise Failed("no graph takes and gives a key/value cache")
        row = self._first(prompts, self.given["prompt"])
        said: list[int] = []
        while True:
            row[self.facts["banned"]] = -np.inf
            said.append(int(row.argmax()))
            if len(said) == count:
                return said
            row = self._first(steps, np.array([[said[-1]]]))

    def _first(self, parts: list[Part], tokens: np.ndarray) -> np.ndarray:
        """Scores after ``tokens`` from the first part that can be run."""
        errors = []
        for part in parts:
            try:
                return self._score(part, tokens)
            except Failed as error:
                errors.append(f"{part.name}: {error}")
            except Exception as error:
                errors.append(f"{part.name}: {first_line(error)}")
        raise Failed(errors[0])

    def _score(self, part: Part, tokens: np.ndarray) -> np.ndarray:
        feeds = {name: self._decoder_input(part, value, tokens) for name, value in part.inputs.items()}
        outputs = part.run(feeds)
        self.cache |= {slot: outputs[name] for name, slot in part.present.items() if outputs[name].size}
        self.known |= {name: array for name, array in outputs.items() if name not in part.present}  # what the next part may take by its name
        self.length += tokens.shape[1]
        width = self.facts["vocabulary"]
        name = part.ends_in(width)
        if name is None:
            head = next((other for other in self.parts if len(other.inputs) == 1 and other.tokens is None and not other.present and other.ends_in(width)), None)
            hidden = next((array for key, array in outputs.items() if key not in part.present and array.ndim == 3), None)
            if head is None or hidden is None:
                raise Failed("nothing scores the vocabulary")
            outputs, name = head.run({next(iter(head.inputs)): hidden}), str(head.ends_in(width))
        return np.array(outputs[name].reshape(-1, outputs[name].shape[-1])[-1], np.float64)

    def _decoder_input(self, part: Part, value: Any, tokens: np.ndarray) -> np.ndarray:
        name, count = value.name, tokens.shape[1]
        total = self.length + count
        if name in part.past:
            return self.cache.get(part.past[name], np.zeros([_empty(size, axis) for axis, size in enumerate(value.shape)]))
        if name == "inputs_embeds":
            return self._embed(tokens)
        if name == part.tokens:
            return tokens
        if name == "use_cache_branch":
            return np.array([self.length > 0])
        if name == "attention_mask" and "decoder_input_ids" in part.inputs and name in self.given:
            return self.given[name]  # the encoder's: transformers calls the other decoder_attention_mask
        if name in ("attention_mask", "decoder_attention_mask"):
            return np.ones((1, total))
        if name in ("position_ids", "positions", "decoder_position_ids", "cache_position"):
            return self._positions(len(value.shape), count)
        places = self._places(tokens)
        raw = self.known.get(name)
        if raw is not None and raw.ndim == 2 and len(value.shape) == 3:  # what is added to the picture's places in the text, and to no other
            added = np.zeros((1, count, raw.shape[1]), np.float32)
            if places.any():
                added[0, places] = raw
            return added
        found = self._find(value, False)
        found = self._find(value, True) if found is None else found
        if found is None:
            raise Failed(f"nothing gives its input {name} {value.shape}")
        return found

    def _places(self, tokens: np.ndarray) -> np.ndarray:
        """Which tokens of the prompt stand for the picture."""
        return (tokens[0] == self.facts["image_token"]) & (self.length == 0)

    def _positions(self, rank: int, count: int) -> np.ndarray:
        """Of three axes where the model places pictures in a plane: then the reference has those of the prompt."""
        if rank == 3 and "host/mrope" in self.given:
            prompt = self.given["host/mrope"]
            return prompt if self.length == 0 else np.full((3, 1, count), prompt.max() + 1 + self.length - prompt.shape[2])
        at = np.arange(self.length, self.length + count)
        return at if rank == 1 else at[None]

    def _embed(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens as vectors, with what the picture became in the places that are kept for it."""
        part = next((part for part in self.parts if part.words and not part.present and not part.ends_in(self.facts["vocabulary"])), None)
        if part is None:
            raise Failed("nothing makes vectors of tokens (inputs_embeds)")
        extra = {name: self._find(value, True) for name, value in part.inputs.items() if name != part.words}
        if any(array is None for array in extra.values()):
            raise Failed(f"nothing gives {part.name} its {', '.join(name for name, array in extra.items() if array is None)}")
        first, places = self.length == 0, self._places(tokens)
        vectors = next(iter(part.run({part.words: tokens, **{name: array if first else array[:0] for name, array in extra.items()}}).values()))
        if not extra and places.any():
            # What a decoder takes under a name of its own is not what stands in the text (Qwen3-VL's features of inner layers).
            named = {name for part in self.parts if part.past or part.present for name in part.inputs}
            free = [array for name, array in self.made.items() if name not in named and array.dtype.kind == "f" and array.shape[-1] == vectors.shape[-1]]
            features = [array.reshape(-1, vectors.shape[-1]) for array in free]
            # One more than there are places: a vision tower's class token, which LLaVA's kind leaves out.
            fitting = [rows[-places.sum() :] for rows in features if len(rows) in (places.sum(), places.sum() + 1)]
            if not fitting:
                raise Failed("nothing gives one vector for each of the picture's places in the text")
            vectors[0, places] = fitting[-1]
        return vectors


def fitted(array: np.ndarray, shape: list[Any]) -> np.ndarray | None:
    """The array as an input of that shape takes it: as it is, or viewed with other axes; None where it does not fit."""
    fixed = [size for size in shape if isinstance(size, int)]
    if array.ndim == len(shape):
        return array if all(not isinstance(size, int) or size == have for size, have in zip(shape, array.shape)) else None
    if len(fixed) < len(shape) - 1 or array.size % max(1, int(np.prod(fixed))):
        return None
    return array.reshape([size if isinstance(size, int) else -1 for size in shape])


def _size(size: Any) -> int | None:
    """A size may be a number written as a name."""
    return size if isinstance(size, int) else int(size) if str(size).isdigit() else None


def _empty(size: Any, axis: int) -> int:
    """A cache with nothing in it: one text, no past."""
    if isinstance(size, int):
        return size
    return 0 if axis == 2 else _size(size) or 1
