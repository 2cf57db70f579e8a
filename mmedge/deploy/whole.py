"""Whether a bundle holds all that its models need, each file as the manifest describes it."""

from __future__ import annotations

from mmedge import onnx_file
from mmedge.bundle import AGAIN, MANIFEST, Bundle
from mmedge.documents import validate
from mmedge.errors import MmedgeError
from mmedge.family import load_family


def hold_whole(bundle: Bundle) -> None:
    """Every file, every graph and asset that a family must yield, and what graphs say of themselves.

    Raises:
        MmedgeError: one is missing, damaged, or not what the manifest says; or this mmedge does not know a model's family.
    """
    for entry in bundle.manifest.files():
        bundle.file(entry)
    for role, model in bundle.manifest.models.items():
        family = load_family(model.family)
        config = validate(model.config, family.Config, f"{bundle.path / MANIFEST}: models.{role}.config", fix=AGAIN)
        for wanted, found in ((family.graphs(config), model.graphs), (family.assets(config), model.assets)):
            if missing := sorted(set(wanted) - set(found)):
                raise MmedgeError(f"{bundle.path}: the model {role!r} lacks its {missing[0]}", AGAIN)
    hold_labels(bundle)


def hold_labels(bundle: Bundle) -> None:
    """Every graph is of the version of ONNX that the manifest names, by which it is known which targets can read it.

    What is no ONNX at all is left to the runtimes, which say why they do not open it.

    Raises:
        MmedgeError: it is of another version.
    """
    for role, model in bundle.manifest.models.items():
        for name, graph in model.graphs.items():
            path = bundle.file(graph.file)
            try:
                file = onnx_file.read(path)
            except MmedgeError:
                continue
            opset = max((one.version for one in file.opset_import if one.domain in ("", "ai.onnx")), default=0)
            if file.graph.node and (opset, file.ir_version) != (graph.opset, graph.ir):
                raise MmedgeError(
                    f"{role}/{name}: the file {graph.file.path} says that it is opset {opset}, IR {file.ir_version}; the manifest says opset {graph.opset}, "
                    f"IR {graph.ir}",
                    AGAIN,
                )
