"""What training makes small: pure functions of tensors, each with its paper, and the weighted sum that a recipe asks for.

Every function takes the tensors of the whole batch (gathered over processes) and returns a scalar, float32 or float64 as they are. Teachers' tensors may be
fp16: they are converted, and no gradient reaches them.
"""

from mmedge.nets.objectives.answered import top_k
from mmedge.nets.objectives.weighted import OBJECTIVES, WeightedSum

__all__ = ["OBJECTIVES", "WeightedSum", "top_k"]
