"""docs/jetson: the compose file is valid, fits Dockerfile.jetson, and gives the container no more than the assistant needs.

``compose-spec.json`` is the schema of github.com/compose-spec/compose-spec at 170098b (Apache-2.0). No container was ever started.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from mmedge.backends.tensorrt.versions import release_for
from mmedge.target import Target

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "jetson"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["assistant"]
DOCKERFILE = (ROOT / "Dockerfile.jetson").read_text()
VALIDATOR = jsonschema.Draft7Validator(json.loads(Path(__file__).with_name("compose-spec.json").read_text()))


def _without_defaults(text):
    """``${NAME:-default}`` as it is where NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_it_is_a_compose_file():
    VALIDATOR.validate(COMPOSE)
    with pytest.raises(jsonschema.ValidationError, match="group_ad"):
        VALIDATOR.validate({"services": {"assistant": {**SERVICE, "group_ad": ["audio"]}}})


def test_it_builds_the_image_from_where_it_lies():
    build = SERVICE["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT and (ROOT / build["dockerfile"]).is_file()
    declared = set(re.findall(r"^ARG (\w+)=", DOCKERFILE, re.MULTILINE))
    assert set(build["args"]) == declared


def test_jetpack_7_is_its_row_of_the_dockerfile():
    row = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "jetpack7.env").read_text(), re.MULTILINE))
    assert set(row) == set(SERVICE["build"]["args"]) - {"USER_ID"}
    release = release_for(row["L4T"])
    assert release.jetpack.startswith("7.") and row["BASE_IMAGE"] == release.base_image
    (line,) = [line.split() for line in DOCKERFILE.splitlines() if line.startswith("#   7") and row["BASE_IMAGE"] in line]
    assert row["EXTRAS"] in line and line[-1] == "empty" and row["ORT_INDEX"] == ""


def test_it_reaches_the_gpu_the_camera_and_the_sound():
    assert (SERVICE["runtime"], SERVICE["ipc"]) == ("nvidia", "host")
    assert {_without_defaults(device) for device in SERVICE["devices"]} == {"/dev/snd", "/dev/video0"}
    assert SERVICE["group_add"][:2] == ["audio", "video"] and "getent group render" in SERVICE["group_add"][2]
    for name in re.findall(r"\$\{(\w+):\?", json.dumps(SERVICE)):  # what must be set is set by the commands at the top
        assert re.search(rf"^#   export .*\b{name}=", (FOLDER / "compose.yaml").read_text(), re.MULTILINE)


def test_it_gets_nothing_else():
    assert SERVICE["network_mode"] == "none" and not {"ports", "expose", "privileged", "cap_add", "user", "pid"} & set(SERVICE)
    assert SERVICE["cap_drop"] == ["ALL"] and "no-new-privileges:true" in SERVICE["security_opt"]
    outside = [volume for volume in SERVICE["volumes"] if not volume.startswith(tuple(COMPOSE["volumes"]))]
    assert [volume for volume in outside if not volume.endswith(":ro")] == ["${BUNDLE:?set it to the folder that mmedge export wrote}:/bundle"]


def test_engines_outlive_the_container():
    (cache,) = re.findall(r"MMEDGE_CACHE=(\S+)", DOCKERFILE)
    assert f"engines:{cache}" in SERVICE["volumes"] and "engines" in COMPOSE["volumes"]
    assert re.search(rf"^ && install --directory --owner=mmedge .*{cache} /bundle$", DOCKERFILE, re.MULTILINE)  # a new volume is given to the same owner
    assert SERVICE["restart"] == "unless-stopped"


def test_the_board_is_recognised():
    assert "/etc/nv_tegra_release:/etc/nv_tegra_release:ro" in SERVICE["volumes"]
    (name,) = re.findall(r"^    TARGET=(\S+)$", DOCKERFILE, re.MULTILINE)
    detect = Target.load(name).detect
    assert detect.files == ("/etc/nv_tegra_release",) and detect.board == ""  # a container sees no other
    assert f'"--target", "{name}"]' in DOCKERFILE  # the health check asks about the same


@pytest.fixture
def start(tmp_path):
    """Runs start.sh with a mmedge that writes down how it was called; ``broken`` is the command of it that fails."""

    def start(*arguments, broken="none"):
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        program = tmp_path / "mmedge"
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" != {broken} ] || exit 3\n')
        program.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TARGET": "of-the-image"}
        done = subprocess.run([FOLDER / "start.sh", *arguments], env=environment, capture_output=True, text=True)
        assert done.stderr == ""
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    return start


def test_a_start_builds_what_is_missing_and_runs_the_assistant(start):
    assert start() == (0, ["compile /bundle --target of-the-image", "run /bundle --target of-the-image"])
    options = [_without_defaults(word) for word in SERVICE["command"]]
    assert start(*options) == (
        0,
        ["compile /bundle --target of-the-image", "run /bundle --target of-the-image --mic default --speaker default --camera /dev/video0"],
    )


def test_nothing_runs_where_nothing_could_be_built(start):
    assert start("--mic", "default", broken="compile") == (3, ["compile /bundle --target of-the-image"])


def test_another_program_is_run_as_it_is(start):
    assert start("mmedge", "check", "/bundle", "--target", "jetson") == (0, ["check /bundle --target jetson"])
    assert start("sh", "-c", "exit 4") == (4, [])
