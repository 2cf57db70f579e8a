"""A dual encoder whose encoders stay as they are: what they give is computed once, and the heads train on that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmedge.cache import Trace
from mmedge.distill.memory import hold_features
from mmedge.distill.networks import Built
from mmedge.distill.samples import Numbers, Parts, Reader, Samples
from mmedge.distill.teacher import Outputs, outputs
from mmedge.distill.training import Chosen
from mmedge.distill.views import view
from mmedge.errors import MmedgeError
from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.metrics.retrieval import gallery, retrieval
from mmedge.evaluate.samples import Unreadable
from mmedge.nets.multimodal import DualEncoder
from mmedge.nets.multimodal_config import Modality
from mmedge.nets.objectives import WeightedSum
from mmedge.training import Training

JUDGED = "image_to_text_r5"


@dataclass(frozen=True, eq=False)
class Features:
    """What frozen encoders give, float32."""

    pictures: Tensor
    """[samples, views, D of the image encoder]; view 0 is the picture as it is."""
    texts: Tensor
    """[different texts, D of the text encoder]."""
    classes: Tensor
    """[classes, D of the text encoder], of the classes' names; empty where nobody asks."""
    number: Mapping[str, int]
    """Text -> its row in ``texts``."""


def features(built: Built, samples: Samples, training: Training, versions: Mapping[str, str], report: Trace) -> Features:
    """From the cache, or computed now.

    Raises:
        MmedgeError: a picture cannot be decoded, the features do not fit into memory, or the cache cannot be written.
    """
    hold_features(len(samples), training.views, _encoder(built.model, "image").width)
    seen = pictures(built, samples.data, len(samples), training, versions, report)["pooled"]
    unique = sorted({text for texts in samples.texts for text in texts})
    report(f"texts: {len(unique)}")
    return Features(
        torch.from_numpy(seen).unflatten(0, (len(samples), training.views)),
        _read_texts(built, unique, versions, report),
        _read_texts(built, built.classes, versions, report),
        {text: row for row, text in enumerate(unique)},
    )


def pictures(built: Built, data: Data, count: int, training: Training, versions: Mapping[str, str], report: Trace) -> Outputs:
    """What the image encoder gives of all views of ``count`` pictures, view by view of one after the other: ``pooled``."""
    model, views, reader = built.model.eval(), training.views, Reader(data)
    of_pictures = {"output": "pooled", **_key(built, "image"), "data": data.fingerprint(), "views": views, **versions}
    of_pictures |= {"augment": list(training.augment), "seed": training.seed} if views > 1 else {}

    def see(rows: range) -> dict[str, Any]:
        found = []
        for number, sample in zip(asked := sorted({row // views for row in rows}), reader(asked)):
            found += [view(sample, row % views, training.augment, training.seed) for row in rows if row // views == number]
        pixels = torch.from_numpy(built.pixels(found)).contiguous(memory_format=torch.channels_last)  # convolutions by channel take a third of the time
        with torch.inference_mode():
            return {"pooled": model.encode("image", {"pixel_values": pixels}).pooled.numpy()}

    report(f"pictures: {count} in {views} view{'s' if views > 1 else ''}")
    try:
        return outputs(of_pictures, count * views, see, report)
    except Unreadable as error:
        raise MmedgeError(error.what, error.fix) from error


def _key(built: Built, modality: Modality) -> dict[str, Any]:
    """What an encoder's outputs follow from: it is the same encoder in whatever checkpoint, with whatever head."""
    hashed = hashlib.sha256(built.words if modality == "text" else b"")
    for name, value in sorted(_encoder(built.model, modality).state_dict().items()):
        hashed.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return {"encoder": hashed.hexdigest(), "told": getattr(built.model.config, modality).model_dump(mode="json")}


def _read_texts(built: Built, texts: Sequence[str], versions: Mapping[str, str], report: Trace) -> Tensor:
    def read(rows: range) -> dict[str, Any]:
        tokens = built.tokens([texts[row] for row in rows])
        with torch.inference_mode():
            return {"pooled": built.model.encode("text", {name: torch.from_numpy(value) for name, value in tokens.items()}).pooled.numpy()}

    if not texts:
        return torch.zeros(0, _encoder(built.model, "text").width)
    return torch.from_numpy(outputs({"output": "pooled", **_key(built, "text"), "texts": list(texts), **versions}, len(texts), read, report)["pooled"])


class Heads(nn.Module):
    """Of a dual encoder: features in, embeddings out. ConSE has no part in what is trained."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        towers: Any = model.towers
        self.image: nn.Module = towers["image"].head
        self.text: nn.Module = towers["text"].head
        self.logit_scale, self.logit_bias = model.logit_scale, model.logit_bias
        self._dropout = model.config.dropout

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """float [B, D] each -> embeddings [B, width], and what their cosines are multiplied by."""
        found = {"image_embedding": self._through(self.image, image), "text_embedding": self._through(self.text, text)}
        found["scale"] = self.logit_scale.exp()
        # Several processes find what an output rests on by what computed it: a weight as it is would count as unused.
        return found if self.logit_bias is None else {**found, "bias": 1 * self.logit_bias}

    def _through(self, head: nn.Module, features: Tensor) -> Tensor:
        dropped = nn.functional.dropout(features, self._dropout, self.training)
        return nn.functional.normalize(head(dropped).float(), dim=-1)


class Frozen:
    """A ``Work``: pairs of cached features. Behind the pairs come pseudo-pairs: a row of the classifier and the name of its class."""

    def __init__(self, built: Built, found: Features, samples: Samples, its: Parts, training: Training, *, shuffled: bool = False) -> None:
        self._built, self._found, self._samples, self._validation, self._training = built, found, samples, its.validation, training
        built.model.requires_grad_(False)
        self._heads = Heads(built.model).requires_grad_(True)
        self._loss = WeightedSum(training.objectives)
        pairs = [(number, found.number[text]) for number in its.train for text in samples.texts[number]]
        pictures, texts = np.array([one for one, _ in pairs]), np.array([one for _, one in pairs])
        if shuffled:
            texts = np.random.default_rng([training.seed, 1]).permutation(texts)
        self._pseudo = _pseudo(built.model, found, torch.from_numpy(pictures)) if training.pseudo_pairs else found.classes[:0]
        count = round(training.pseudo_pairs * len(self._pseudo))
        self._pictures = np.concatenate([pictures, -1 - np.arange(count) % max(1, len(self._pseudo))])
        self._texts = np.concatenate([texts, len(found.texts) + np.arange(count) % max(1, len(self._pseudo))])
        self._all_texts = torch.cat([found.texts, found.classes])
        self.keys = [*(samples.keys[number] for number, _ in pairs), *(f"the class {built.classes[at % len(self._pseudo)]}" for at in range(count))]
        self._same = _same(found)

    @property
    def module(self) -> nn.Module:
        return self._heads

    def inputs(self, chosen: Chosen, step: int) -> dict[str, Tensor]:
        pictures = self._pictures[chosen]
        rows = []
        for number, at in zip(pictures.tolist(), chosen.tolist()):
            if number < 0:
                rows.append(self._pseudo[-1 - number])
            else:
                rows.append(self._found.pictures[number, int(np.random.default_rng([self._training.seed, step, at]).integers(self._training.views))])
        return {"image": torch.stack(rows), "text": self._all_texts[self._texts[chosen]]}

    def losses(self, outputs: Mapping[str, Tensor], chosen: Chosen, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        pictures, texts = self._pictures[chosen], self._same[self._texts[chosen]]
        positives = torch.from_numpy((pictures[:, None] == pictures) | (texts[:, None] == texts))
        total, terms = self._loss({**outputs, "positives": positives.to(outputs["scale"].device)})
        return total, terms

    def validate(self) -> float | None:
        if not len(self._validation):
            return None
        found = next(one for one in self.score(self._validation) if one.name == JUDGED).estimate
        return found.value if found else None

    def score(self, numbers: Numbers) -> list[Metric]:
        """Retrieval among these samples, by the pictures as they are."""
        return score(self._built.model, self._found, self._samples, numbers)


def score(model: DualEncoder, found: Features, samples: Samples, numbers: Numbers, begin: int = 0) -> list[Metric]:
    """Retrieval both ways. ``begin``: of the embeddings only what is behind this column, such as ConSE's part."""
    texts, relevant = gallery([samples.texts[number] for number in numbers])
    device = model.logit_scale.device
    model.eval()
    with torch.inference_mode():
        seen = model.embed("image", found.pictures[torch.from_numpy(numbers), 0].to(device))[:, begin:]
        told = model.embed("text", found.texts[[found.number[text] for text in texts]].to(device))[:, begin:]
        scores = nn.functional.normalize(seen, dim=-1) @ nn.functional.normalize(told, dim=-1).T
    return retrieval(scores.double().cpu().numpy(), relevant)


def _same(found: Features) -> Numbers:
    """Row of a text -> a number that texts which say the same share."""
    numbers: dict[str, int] = {}
    plain = [said(text) for text in found.number]
    return np.array([*(numbers.setdefault(text, len(numbers)) for text in plain), *(len(plain) + at for at in range(len(found.classes)))])


def said(text: str) -> str:
    """What a text says, whatever its case, spaces and full stop."""
    return " ".join(text.casefold().split()).rstrip(". ")


def _pseudo(model: DualEncoder, found: Features, pictures: Tensor) -> Tensor:
    """The classifier's rows as pictures [classes, D]: as long as pictures' features are."""
    rows: Tensor = _encoder(model, "image").network._fc.weight.detach()
    return nn.functional.normalize(rows, dim=-1) * found.pictures[pictures, 0].norm(dim=-1).mean()


def _encoder(model: DualEncoder, modality: str) -> Any:
    towers: Any = model.towers
    return towers[modality].encoder
