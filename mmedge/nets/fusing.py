"""Several modalities into one vector, four ways. What is missing has no part in it, whatever its tensors hold.

All take what was projected to one width, and ``present`` bool [B, modalities], at least one of which is true in each row.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor



@dataclass
class Encoded:
    """What is known of one modality of a batch."""

    pooled: Tensor
    """[B, D]."""
    tokens: Tensor
    """[B, T, D]."""
    mask: Tensor | None = None
    """int64 [B, T], 0 on filling; None where there is none."""
