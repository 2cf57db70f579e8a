"""What keeps the shape: imports point one way, the device half never reaches torch, nothing is unpickled, nothing grows too long."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mmedge"
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(PACKAGE.rglob("*.py"))}

LAYERS = [
    ["cli", "__main__", "commands", "demo", "exits", "options", "output"],
    ["distill"],
    ["build", "deploy", "assistant"],
    ["optimize", "evaluate", "profile"],
    ["families", "backends", "nets"],
    ["processors", "generate"],
    ["recipe", "training", "target", "bundle", "runner", "family", "turn", "manifest", "documents", "spans", "quantization", "features", "rated", "fallback"],
    ["errors", "need", "catalog", "hub", "tensors", "cache", "hf", "wheels", "origin", "onnx_file"],
]
"""From the top down: a module may import from its own layer where it is no sibling, and from those below."""
FREE = {"mmedge", "mmedge.__main__"}
"""The public API gathers what is below; it is imported by nobody."""
SIBLINGS = [{"families", "backends"}, {"build", "assistant"}]
"""Folders of one layer that never meet."""
APART = {"families", "backends"}
"""Folders whose members never meet."""
HEAVY = {"torch", "transformers", "tensorrt", "tensorrt_rtx_bindings", "openvino", "onnxruntime", "onnx", "onnxscript", "optimum", "safetensors"}
HEAVY |= {"accelerate", "tensorboardX", "huggingface_hub", "peft", "cv2", "av", "sounddevice", "piper", "scipy", "librosa", "soundfile"}
TORCH = {"torch", "transformers", "onnxscript", "optimum", "peft", "accelerate"}


@functools.cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(FILES[module].read_text())))


@functools.cache
def imports(module: str) -> tuple[str, ...]:
    """The dotted names that a module imports, inside functions too, and those by ``need("...")``."""
    found: list[str] = []
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found += (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write absolute imports"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                found.append(full if full in FILES else str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need" and isinstance(node.args[0], ast.Constant):
            found.append(str(node.args[0].value))
    return tuple(found)


def dotted(node: ast.AST) -> str:
    """``a.b.c`` as it is written; what is called upon a result begins with a dot."""
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def part(module: str) -> str:
    return module.split(".")[1]


def layer(module: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part(module) in parts)


def reached(start: str) -> set[str]:
    """Every module that ``start`` imports, directly or through ours; a module brings the packages around it."""
    found, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        if module in FILES:
            waiting += [module.rpartition(".")[0]] if "." in module else []
            waiting += imports(module)
    return found


def ours(module: str) -> list[str]:
    return [name for name in imports(module) if name.startswith("mmedge.")]


INNER = [module for module in FILES if module not in FREE]


@pytest.mark.parametrize("module", INNER)
def test_imports_point_one_way(module: str) -> None:
    for other in ours(module):
        if other in ("mmedge.families", "mmedge.backends"):  # the empty package, to list what is in it
            continue
        assert layer(other) >= layer(module), f"{module} may not import {other}, which is above it"
        assert {part(module), part(other)} not in SIBLINGS, f"{module} and {other} are siblings"
        if part(module) == part(other) and part(module) in APART:
            assert module.split(".")[2] == other.split(".")[2], f"{module} and {other} are siblings"


@pytest.mark.parametrize("name", sorted(APART))
def test_packages_that_are_listed_are_empty(name: str) -> None:
    assert not ours(f"mmedge.{name}")


@pytest.mark.parametrize("module", list(FILES))
def test_heavy_packages_come_through_need(module: str) -> None:
    """Inside functions as well: an import there has no fix to offer. Only nets/ and families/*/export.py import them plainly, and distill/ torch."""
    if module.startswith("mmedge.nets") or (module.startswith("mmedge.families.") and module.endswith(".export")):
        return
    heavy = HEAVY - ({"torch"} if module.startswith("mmedge.distill") else set())
    typing_only = {id(node) for block in nodes(module) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test) for node in ast.walk(block)}
    for node in nodes(module):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in typing_only:
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            assert not heavy & {name.partition(".")[0] for name in names}, f"{module}, line {node.lineno}: use need()"


DEVICE = [module for module in INNER if module.endswith(".session") or part(module) in ("processors", "generate", "assistant", "deploy", "backends")]


@pytest.mark.parametrize("module", DEVICE)
def test_the_device_half_never_reaches_torch(module: str) -> None:
    tops = {name.partition(".")[0] for name in reached(module)}
    assert not TORCH & tops, f"{module} reaches {TORCH & tops}"


WATCHED = {"weights_only", "allow_pickle"}


@pytest.mark.parametrize("module", list(FILES))
def test_nothing_is_unpickled(module: str) -> None:
    for node in nodes(module):
        if not isinstance(node, ast.Call):
            continue
        called, options = dotted(node.func), {option.arg: ast.unparse(option.value) for option in node.keywords if option.arg in WATCHED}
        assert called.partition(".")[0] not in ("pickle", "cPickle", "dill", "joblib", "marshal", "shelve"), f"{module}, line {node.lineno}: {called}"
        assert called != "torch.load" or options.get("weights_only") == "True", f"{module}, line {node.lineno}: torch.load wants weights_only=True"
        assert options.get("allow_pickle", "False") == "False", f"{module}, line {node.lineno}: allow_pickle"


@pytest.mark.parametrize("module", list(FILES))
def test_short_files_and_functions(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= 300
    assert not {"utils", "util", "common", "helpers", "misc"} & set(module.split("."))
    for node in nodes(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{module}.{node.name} is too long"
        if isinstance(node, ast.ClassDef):
            assert not node.name.endswith(("Manager", "Handler", "Helper")), f"{module}.{node.name}"


def test_import_pulls_in_no_runtime() -> None:
    code = "import sys, mmedge; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
    assert "mmedge" in loaded
    assert not loaded & (HEAVY | {"tokenizers", "typer"})


@pytest.mark.full
def test_everything_runs_on_python_3_10() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import vermin; vermin.main()", "--no-tips", "--eval-annotations", "-t=3.10-", str(PACKAGE)], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout
