"""Students that begin with their teacher's weights: fewer layers, narrower ones, fewer words."""

from __future__ import annotations

from torch import nn

from mmedge.distill.students.convolutions import thinner
from mmedge.distill.students.importance import Importance, by_data, by_weights
from mmedge.distill.students.transformer import smaller
from mmedge.distill.students.vocabulary import prune_vocabulary, with_vocabulary
from mmedge.errors import MmedgeError
from mmedge.nets.efficientnet_lite import EfficientNetLite
from mmedge.training import Student

__all__ = ["Importance", "by_data", "by_weights", "prune_vocabulary", "smaller", "student", "thinner", "with_vocabulary"]


def student(teacher: nn.Module, plan: Student) -> nn.Module:
    """A new network as the plan has it, with the teacher's weights; the teacher stays as it is. The vocabulary is another matter: ``prune_vocabulary``.

    Args:
        teacher: an ``EfficientNetLite`` or a model of transformers; what comes back is of the same class, its ``config`` says how large it is.

    Raises:
        MmedgeError: it is neither, or cannot be cut in this way.
    """
    if isinstance(teacher, EfficientNetLite):
        if plan.layers or plan.residual < 1:
            raise MmedgeError("an EfficientNet has neither a list of equal layers nor a stream between them", "give depth and width alone")
        return thinner(teacher, depth=plan.depth, width=plan.width)
    if hasattr(teacher, "config"):
        return smaller(teacher, depth=plan.depth, width=plan.width, residual=plan.residual, layers=plan.layers)
    raise MmedgeError(f"no student can be made of a {type(teacher).__name__}", "use an EfficientNet-Lite or a model of transformers as the teacher")
