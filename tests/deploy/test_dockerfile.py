"""Dockerfile.jetson is held to the table of NVIDIA's releases, to hadolint, and to what an image for a board may not do. It was never built."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmedge.backends.tensorrt.versions import IMAGE_TENSORRT, RELEASES, release_for, row_for

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile.jetson").read_text()
ARGS = dict(re.findall(r"^ARG (\w+)=(.*)$", TEXT, re.MULTILINE))
ROW = re.compile(r"^#   (?P<jetpack>\d\S* - \S+) +(?P<l4t>\S+ - \S+) +(?P<python>3\S+) +(?P<tensorrt>\S+) +(?P<image>\S+) +(?P<extras>\S+)", re.MULTILINE)
ROWS = [found.groupdict() for found in ROW.finditer(TEXT)]
INSTRUCTIONS = re.sub(r"\\\n", " ", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))).splitlines()


def _released(row):
    return [one for one in RELEASES if one.base_image == row["image"]]


def test_every_release_with_a_container_has_its_row():
    assert [row["image"] for row in ROWS] == list(dict.fromkeys(one.base_image for one in RELEASES if one.base_image)) == list(IMAGE_TENSORRT)
    assert {one.jetpack for one in RELEASES if not one.base_image} == {"7.2.2"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["jetpack"])
def test_a_row_is_what_the_table_says(row):
    first, *_, last = _released(row)
    assert row["jetpack"] == f"{first.jetpack} - {last.jetpack}"
    assert row["l4t"] == f"{first.l4t_low} - {last.l4t_high}"
    assert {row["python"]} == {one.python for one in _released(row)}
    assert row["tensorrt"] == IMAGE_TENSORRT[row["image"]]
    assert {board for one in _released(row) for board in one.boards} <= set(row_for(row["tensorrt"]).boards)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["jetpack"])
def test_a_rows_extras_exist_and_are_for_its_cuda(row):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(row["extras"].split(",")) <= set(extras)
    majors = {one.cuda.partition(".")[0] for one in _released(row) if one.cuda}
    bounds = " ".join(extras[row["extras"].split(",")[0]])
    assert re.findall(r"cuda-python>=(\d+)", bounds) == list(majors)
    assert re.findall(r"<(\d+)", bounds)[0] == str(int(*majors) + 1)


def test_the_defaults_are_one_row():
    release = release_for(ARGS["L4T"])
    assert ARGS["BASE_IMAGE"] == release.base_image
    (row,) = [row for row in ROWS if row["image"] == ARGS["BASE_IMAGE"]]
    assert ARGS["EXTRAS"] == row["extras"]
    assert f"/jp{release.jetpack[0]}/cu{release.cuda.replace('.', '')[:3]}/" in ARGS["ORT_INDEX"]


def test_no_base_is_for_running_only_or_of_a_tensorrt_without_jetpack():
    for image, version in IMAGE_TENSORRT.items():
        assert "-runtime" not in image
        assert row_for(version).boards
    tag = re.search(r"tensorrt:(\d\d)\.(\d\d)-py3", "\n".join(IMAGE_TENSORRT))
    assert (int(tag[1]), int(tag[2])) < (26, 7)  # from 26.07 on they carry TensorRT 11


def test_every_stage_is_the_base_that_was_asked_for():
    assert {line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM ")} == {"${BASE_IMAGE}"}


def test_nothing_is_built_or_taken_that_only_a_board_has():
    commands = [line for line in INSTRUCTIONS if line.startswith("RUN ")]
    assert commands
    for command in commands:
        assert not re.search(r"trtexec|mmedge compile|nvidia-smi", command)
        assert not re.search(r"pip install[^&]*\btensorrt\b", command)
        assert "sudo" not in command


def test_it_runs_as_nobody_special():
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER ")]
    assert users == ["${USER_ID}"] and int(ARGS["USER_ID"]) >= 1000
    last = max(number for number, line in enumerate(INSTRUCTIONS) if line.startswith("RUN "))
    assert next(number for number, line in enumerate(INSTRUCTIONS) if line.startswith("USER ")) > last


def test_pip_leaves_no_cache_and_builds_nothing():
    installs = [part for line in INSTRUCTIONS if line.startswith("RUN ") for part in line.split("&&") if re.search(r"pip (install|wheel)", part)]
    assert len(installs) == 5 and all("--no-cache-dir" in part for part in installs)
    assert all("--only-binary=:all:" in part for part in installs if "pip wheel" not in part and "--upgrade pip" not in part)


def test_it_stops_where_the_base_has_no_python_module_of_tensorrt():
    """The very line, run with a Python that has none, and with one that has."""
    (code,) = re.findall(r"""/python -c "([^"]*'tensorrt'[^"]*)\"""", TEXT)
    failed = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (failed.returncode, failed.stderr) == (1, "error: this BASE_IMAGE has no Python module tensorrt\n")
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code.replace("tensorrt", "json")]).returncode == 0


def _hadolint(text):
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or pytest.skip("hadolint has no wheel for this machine")
    done = subprocess.run([program, "--no-color", "--failure-threshold", "style", "-"], input=text, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, set(re.findall(r"(?:DL|SC)\d{4}", done.stdout))


def test_hadolint_finds_nothing():
    assert _hadolint(TEXT) == (0, set())
    assert set(re.findall(r"hadolint ignore=(\S+)", TEXT)) == {"DL3008"}  # pinned versions of a distribution's packages: the reason stands there


@pytest.mark.parametrize(
    ("was", "becomes", "rule"),
    [
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
        (" && rm -rf /var/lib/apt/lists/*", "", "DL3009"),
        ("--no-install-recommends ", "", "DL3015"),
        ("USER ${USER_ID}", "USER root", "DL3002"),
        ("COPY docs", "ADD docs", "DL3020"),
        ('ENTRYPOINT ["start"]', "ENTRYPOINT start", "DL3025"),
        ("RUN if id", "RUN sudo id ; if id", "DL3004"),
        ("FROM ${BASE_IMAGE}\n", "FROM ubuntu:latest\n", "DL3007"),
    ],
)
def test_hadolint_would_find_it(was, becomes, rule):
    assert was in TEXT
    status, found = _hadolint(TEXT.replace(was, becomes))
    assert status == 1 and rule in found
