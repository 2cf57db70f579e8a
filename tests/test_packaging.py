"""What is published: the device half has wheels for the boards and no torch, and the wheel carries all that it needs."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "transformers", "onnx", "onnxscript", "optimum", "safetensors", "openvino", "scipy", "tensorrt"}
"""What the device half must do without."""
BOARD = {"platform_machine": "aarch64", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython"}
TAGS = [*(f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)), "manylinux2014_aarch64"]

pytestmark = pytest.mark.full


@pytest.mark.parametrize(("python", "extras"), [("3.10", ()), ("3.12", ()), ("3.10", ("jetson-jp6", "assistant")), ("3.12", ("jetson-jp7", "assistant"))])
def test_boards_have_a_wheel_of_everything_on_the_device(wheel: Path, tmp_path: Path, python: str, extras: tuple[str, ...]) -> None:
    found = _resolve(_requires(wheel), python, extras, tmp_path)
    print(f"\naarch64, Python {python}, {extras or 'plain'}: " + ", ".join(f"{name} {version}" for name, version in sorted(found.items())))
    assert {"numpy", "onnxruntime", "psutil", "pydantic-core", "tokenizers", "pillow", "typer", "jinja2"} <= set(found)
    assert ("tomli" in found) == (python == "3.10")
    assert {name: found[name].partition(".")[0] for name in ("cuda-python", "cuda-bindings") if name in found} == (
        dict.fromkeys(("cuda-python", "cuda-bindings"), {"3.10": "12", "3.12": "13"}[python]) if extras else {}
    )
    assert not HEAVY & set(found)


def test_wheel_carries_recipes_targets_types_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for kind in ("recipes", "targets"):
        assert {path.name for path in (ROOT / kind).glob("*.toml")} == {Path(name).name for name in names if name.startswith(f"mmedge/{kind}/")}
    assert "mmedge/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "mmedge").rglob("*.py")} <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build = "import hatchling.build, sys; print(hatchling.build.build_sdist(sys.argv[1]))"
    name = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1]
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path, filter="data")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(tmp_path / name.removesuffix(".tar.gz")))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_plain_install_is_the_device_half(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = str(home / "bin" / "python")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    # With the versions that everything was tried with: onnxruntime alone grew by 10 MB from 1.31 to 1.32.
    _pip("--python", python, "install", "--quiet", "--no-compile", "--only-binary=:all:", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
    size_mb = sum(path.lstat().st_size for path in home.rglob("*") if not path.is_dir()) / 1e6
    listed = {canonicalize_name(entry["name"]) for entry in json.loads(_pip("--python", python, "list", "--format", "json"))}
    assert "onnxruntime" in listed
    assert not HEAVY & listed
    told = subprocess.run([home / "bin" / "mmedge", "--help"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "export" in told
    shipped = "from mmedge import catalog; print(*catalog.names('recipes'), *catalog.names('targets'))"
    names = subprocess.run([python, "-c", shipped], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    assert {"toy", "cpu", "jetson"} <= set(names)
    # Bytecode is left out: Python writes it later, for what is really imported; compiling everything takes another 40 MB.
    print(f"\ndevice half with onnxruntime, installed: {size_mb:.0f} MB in {len(listed)} packages, without bytecode")
    assert size_mb < 200


def _pip(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _requires(wheel: Path) -> list[str]:
    """The wheel's own requirements, those of its extras included."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist") or []


def _resolve(requirements: list[str], python: str, extras: tuple[str, ...], tmp_path: Path) -> dict[str, str]:
    """What pip would install on a board: {name: version}.

    pip evaluates markers for the interpreter that it runs in, not for ``--python-version``. So markers are evaluated here,
    and whatever pip left out for that reason is asked for by name until nothing is missing.
    """
    board = BOARD | {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    wanted = [_bare(text) for text in requirements if any(_applies(text, board | {"extra": extra}) for extra in ("", *extras))]
    platform = [option for tag in TAGS for option in ("--platform", tag)]
    while True:
        report = tmp_path / f"{python}.json"
        options = ["--dry-run", "--quiet", "--ignore-installed", "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platform]
        _pip("install", *options, "--target", str(tmp_path / "target"), "--report", str(report), *wanted)
        entries = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
        found = {canonicalize_name(entry["name"]): entry["version"] for entry in entries}
        inner = [text for entry in entries for text in entry.get("requires_dist", []) if _applies(text, board)]
        missing = [_bare(text) for text in inner if canonicalize_name(Requirement(text).name) not in found]
        if not missing:
            return found
        wanted += missing


def _applies(text: str, board: dict[str, str]) -> bool:
    marker = Requirement(text).marker
    return marker is None or marker.evaluate(board)


def _bare(text: str) -> str:
    requirement = Requirement(text)
    requirement.marker = None
    return str(requirement)
