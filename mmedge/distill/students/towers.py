"""A dual encoder out of another one: some of its encoders smaller, the common space the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mmedge.distill.characters import character_tokenizer
from mmedge.distill.networks import TOKENS, Built
from mmedge.distill.students import prune_vocabulary, student, with_vocabulary
from mmedge.distill.students.convolutions import kept_features
from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder.checkpoint import text_settings
from mmedge.nets.efficientnet_lite import EfficientNetLite
from mmedge.nets.encoders import PAD, encoder, wrapped
from mmedge.nets.multimodal import PAIR, DualEncoder
from mmedge.nets.multimodal_config import Modality, TransformersConfig
from mmedge.processors.text import TextProcessor
from mmedge.training import Student, Training


def student_of(teacher: Built, training: Training, texts: Sequence[str], trained: Sequence[str]) -> Built:
    """A new model whose heads and temperature are the teacher's; an encoder without a plan is the teacher's own, the same object.

    Args:
        texts: all that it will read, for a vocabulary that is pruned to them.
        trained: those that it is trained on, for a vocabulary of characters.

    Raises:
        MmedgeError: an encoder cannot be made as the plan has it, or ConSE would compare texts in another space than the teacher's.
    """
    towers: Any = teacher.model.towers
    made: dict[Modality, Any] = {name: towers[name].encoder for name in PAIR}
    heads = {name: towers[name].head.weight for name in PAIR}
    config, words = teacher.model.config.model_copy(update={"dropout": training.dropout}), teacher.words
    torch.manual_seed(training.seed)
    if plan := training.student.get("image"):
        made["image"], heads["image"] = _pictures(made["image"], plan, heads["image"])
        config = config.model_copy(update={"image": config.image.model_copy(update={"network": made["image"].config})})
    if plan := training.student.get("text"):
        made["text"], words = _texts(made["text"], plan, words, texts, trained)
        longest = min(TOKENS, int(made["text"].network.config.max_position_embeddings), TOKENS if plan.architecture else config.text.prepared.length)
        prepared = text_settings(words, PAD if plan.architecture else config.text.prepared.pad_token, longest, fixed=False)
        config = config.model_copy(update={"text": config.text.model_copy(update={"network": made["text"].config, "prepared": prepared})})
        if config.conse and made["text"].width != towers["text"].encoder.width:
            raise MmedgeError(
                f"ConSE compares texts as the teacher pools them, {towers['text'].encoder.width} numbers, and the student pools {made['text'].width}",
                "give the text student the teacher's width (residual = 1, or hidden_size), or take a teacher without ConSE",
            )
    model = DualEncoder(config, made)
    _inherit(model, teacher.model, heads)
    return replace(teacher, model=model, words=words, tokens=TextProcessor(words, config.text.prepared))


def _pictures(teacher: Any, plan: Student, head: torch.Tensor) -> tuple[Any, torch.Tensor]:
    if plan.architecture or plan.vocabulary != "whole":
        raise MmedgeError("a student that looks at pictures has no vocabulary", "give it depth and width alone: [models.ROLE.train.student.image]")
    made = student(teacher.network, plan)
    if isinstance(made, EfficientNetLite):
        head = head[:, kept_features(teacher.network, made.config.features)]
    return wrapped(made, getattr(teacher.config, "pooling", "mean")), head


def _texts(teacher: Any, plan: Student, words: bytes, texts: Sequence[str], trained: Sequence[str]) -> tuple[Any, bytes]:
    if plan.architecture:
        made = character_tokenizer(trained)
        size = TextProcessor(made, text_settings(made, PAD, TOKENS, fixed=False)).size
        return encoder(TransformersConfig(config={**plan.architecture, "vocab_size": size, "pad_token_id": 0})), made
    network = teacher.network
    if plan.vocabulary == "pruned":
        words, kept = prune_vocabulary(words, texts)
        network = with_vocabulary(network, kept)
    return wrapped(student(network, plan), teacher.config.pooling), words


def _inherit(student: DualEncoder, teacher: DualEncoder, heads: Mapping[Modality, torch.Tensor]) -> None:
    """The heads, as far as they fit, and everything that is no encoder's."""
    theirs, ours = teacher.state_dict(), student.state_dict()
    wanted = {name: value for name, value in theirs.items() if ".encoder." not in name}
    wanted |= {f"towers.{name}.head.weight": weight for name, weight in heads.items()}
    student.load_state_dict({name: value.clone() for name, value in wanted.items() if value.shape == ours[name].shape}, strict=False)
