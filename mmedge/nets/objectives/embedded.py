"""Distillation of embeddings: a student's lie where the teacher's do, or as far from one another. The teacher is never trained by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional

from mmedge.errors import MmedgeError
from mmedge.nets.objectives.paired import own

Projector = Callable[[Tensor], Tensor]


def features(student: Tensor, teacher: Tensor, *, distance: Literal["mse", "cosine"] = "mse", projector: Projector | None = None) -> Tensor:
    """Feature distillation (FD of Yang et al. 2024, CLIP-KD; FitNets, Romero et al. 2015, with a projector).

    Args:
        student: float [B, D].
        teacher: float [B, E], any precision; E = D unless there is a projector.
        distance: ``mse``: the squared distance, added over features, its mean over the batch (CLIP-KD's equation; its code takes the mean over features too and
            makes up for it by a weight of 2000). ``cosine``: 1 - cosine.
        projector: [B, D] -> [B, E], trained along.

    Raises:
        MmedgeError: the widths differ, and nothing projects.
    """
    student = projected("features", student, teacher, projector)
    teacher = teacher.detach().to(student.dtype)
    if distance == "cosine":
        return (1 - functional.cosine_similarity(student, teacher, dim=-1)).mean()
    return (student - teacher).square().sum(-1).mean()


def projected(kind: str, student: Tensor, teacher: Tensor, projector: Projector | None) -> Tensor:
    """[..., D] -> [..., E], or as it is. Raises MmedgeError: what comes out is not as wide as the teacher."""
    found = student if projector is None else projector(student)
    hold_widths(kind, found.shape[-1], teacher.shape[-1])
    return found


def hold_widths(kind: str, student: int, teacher: int) -> None:
    """Raises MmedgeError: they differ."""
    if student != teacher:
        raise MmedgeError(
            f"{kind}: the student's vectors have {student} numbers, the teacher's {teacher}",
            "write projector = true in the settings of this objective, or give both the same width",
        )


def affinity(
    image_embedding: Tensor,
    text_embedding: Tensor,
    scale: Tensor,
    teacher_image_embedding: Tensor,
    teacher_text_embedding: Tensor,
    teacher_scale: Tensor,
) -> Tensor:
    """Affinity mimicking (Wu et al. 2023, TinyCLIP): how alike a picture is to each text of the batch, as a distribution, and the other way round; cross
    entropy of the student's with the teacher's, halved. Student and teacher may have different widths. A sigmoid model's bias cancels in a distribution.

    Args:
        image_embedding, text_embedding: float [B, D] of length 1, of the whole batch.
        teacher_image_embedding, teacher_text_embedding: [B, E], any precision.
        scale, teacher_scale: scalars.
    """
    wanted = _scores(teacher_image_embedding, teacher_text_embedding, teacher_scale, image_embedding)
    found = scale * image_embedding @ text_embedding.T
    return (functional.cross_entropy(found, wanted.softmax(-1)) + functional.cross_entropy(found.T, wanted.T.softmax(-1))) / 2


def relational(
    image_embedding: Tensor,
    text_embedding: Tensor,
    scale: Tensor,
    teacher_image_embedding: Tensor,
    teacher_text_embedding: Tensor,
    teacher_scale: Tensor,
) -> Tensor:
    """Contrastive relational distillation (CRD of Yang et al. 2024, CLIP-KD): the Kullback-Leibler divergence where ``affinity`` has the cross entropy.

    Their difference is the entropy of the teacher, which no gradient sees: they train alike. This one is 0 for a student that is its teacher.

    Args: as for ``affinity``.
    """
    wanted = _scores(teacher_image_embedding, teacher_text_embedding, teacher_scale, image_embedding)
    found = scale * image_embedding @ text_embedding.T
    return (_divergence(found, wanted) + _divergence(found.T, wanted.T)) / 2


def _scores(image: Tensor, text: Tensor, scale: Tensor, like: Tensor) -> Tensor:
    return (scale * image.to(like.dtype) @ text.to(like.dtype).T).detach()


def _divergence(found: Tensor, wanted: Tensor) -> Tensor:
    return functional.kl_div(found.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True)


def interactive(
    image_embedding: Tensor,
    text_embedding: Tensor,
    scale: Tensor,
    teacher_image_embedding: Tensor,
    teacher_text_embedding: Tensor,
    positives: Tensor | None = None,
) -> Tensor:
    """Interactive contrastive learning (ICL of Yang et al. 2024, CLIP-KD): the student's pictures find the teacher's texts, its texts the pictures.

    Args:
        image_embedding, text_embedding, teacher_image_embedding, teacher_text_embedding: [B, D] of length 1, of the whole batch.
        scale: 1 / temperature, a scalar.
        positives: as for ``contrastive``.

    Raises:
        MmedgeError: student and teacher differ in width.
    """
    if image_embedding.shape[-1] != teacher_image_embedding.shape[-1]:
        raise MmedgeError(
            f"interactive: the student's embeddings have {image_embedding.shape[-1]} numbers, the teacher's {teacher_image_embedding.shape[-1]}",
            "give the student the teacher's width, or use affinity, which compares no vectors of one with those of the other",
        )
    images, texts = (one.detach().to(image_embedding.dtype) for one in (teacher_image_embedding, teacher_text_embedding))
    forth = own(scale * image_embedding @ texts.T, positives)
    return (forth + own(scale * text_embedding @ images.T, None if positives is None else positives.T)) / 2
