"""The user's own module: ``module = "package.module:factory"`` in a recipe, and ``--trust-code``.

::

    # mypackage/detector.py, installed or on PYTHONPATH
    def factory() -> dict[str, mmedge.family.TorchGraph]:
        module = Detector().eval()
        return {"detector": TorchGraph(module, {"pixel_values": torch.randn(2, 3, 64, 64)}, outputs=("boxes",),
                                       dynamic={"pixel_values": {0: "batch"}}, other={"pixel_values": torch.randn(1, 3, 64, 64)})}

    # detector.toml
    schema = "mmedge.recipe/1"
    name = "detector"
    [models.detector]
    module = "mypackage.detector:factory"

Each graph is traced, proven equal to its module at both examples, and run by name: ``session.run("detector", pixel_values=...)``.
Code beside a recipe or in a bundle is never imported: what is downloaded with a model is not what the user has installed.
"""

from __future__ import annotations

from pydantic import Field

from mmedge.documents import Document

ARCHITECTURES: tuple[str, ...] = ()
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("run",)
NEEDS_FILES = False
"""The factory finds its own weights."""


class Options(Document):
    """Comes from the recipe's ``module`` line."""

    module: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class Config(Document):
    """What the factory gave."""

    graphs: tuple[str, ...] = Field(min_length=1)


def graphs(config: Config) -> tuple[str, ...]:
    return config.graphs


def assets(config: Config) -> tuple[str, ...]:
    return ()
