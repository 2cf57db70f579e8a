"""The same with the very mmedge on the board that is tested here, by the commands that users type."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mmedge.bundle import MANIFEST, Bundle
from mmedge.deploy.push import Release

NEWER = """
import sys
from mmedge.manifest import Manifest
Manifest.model_fields["schema_"].default = "mmedge.bundle/0"
from mmedge.cli import main
main()
"""


def mmedge(*arguments, cwd):
    command = [sys.executable, "-m", "mmedge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "MMEDGE_CACHE": str(cwd / "cache")}, timeout=300)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.full
def test_from_the_first_push_to_the_profile_and_back(board, toy_bundle, tmp_path):
    board.real()
    status, out, said = mmedge("push", toy_bundle, "board", "--target", "cpu", "--json", cwd=tmp_path)
    assert status == 0, said
    made = Release.model_validate_json(out)
    assert made.gates and all(gate.passed for gate in made.gates) and made.release == board.live()
    assert "verified on board: 7 files" in said and "board: ok   " in said

    for command in ("check", "compile"):
        status, out, said = mmedge(command, toy_bundle, "--on", "board", "--target", "cpu", "--json", cwd=tmp_path)
        assert (status, json.loads(out)["schema"]) == (0, "mmedge.bundle/1"), said
    status, out, said = mmedge("profile", toy_bundle, "--on", "board", "--target", "cpu", "--seconds", "0.05", "--html", tmp_path / "page.html", cwd=tmp_path)
    assert status == 0 and "image_encoder" in out, said
    assert (tmp_path / "page.html").read_text().startswith("<!")

    with Bundle.writing(toy_bundle) as writing:  # what was expected of the cat is now expected of the coffee
        eyes = writing.manifest.models["eyes"]
        cases = tuple(case.model_copy(update={"args": {"image": "@coffee"}}) if case.level == "verb" else case for case in eyes.cases)
        writing.manifest = writing.manifest.model_copy(update={"models": {"eyes": eyes.model_copy(update={"cases": cases})}})
        writing.commit()
    status, out, said = mmedge("push", toy_bundle, "board", "--target", "cpu", "--json", cwd=tmp_path)
    assert (status, json.loads(out)["status"], board.live()) == (3, 3, made.release)
    assert json.loads(out)["error"].startswith("board: 1 of 3 checks failed on cpu; first verb eyes.embed_image #1")

    for arguments in (["--rollback"], ["--target", "nonesuch"]):
        status, out, said = mmedge("push", toy_bundle, "board", *arguments, cwd=tmp_path)
        assert (status, board.live()) == (2, made.release)
        assert [line.partition(":")[0] for line in said.splitlines()[-2:]] == ["error", "fix"]


@pytest.mark.full
def test_an_older_mmedge_there_says_that_it_cannot_read_the_bundle(board, toy_bundle, tmp_path):
    (board.home / "older.py").write_text(NEWER)
    board.program(f'#!/bin/sh\nexec {sys.executable} "$HOME/older.py" "$@"\n')
    status, out, said = mmedge("push", toy_bundle, "board", "--target", "cpu", cwd=tmp_path)
    what, fix = said.splitlines()[-2:]
    assert (status, out, board.live()) == (2, "", None)
    assert f"{MANIFEST} has schema mmedge.bundle/1, this mmedge reads up to mmedge.bundle/0" in what
    assert fix == "fix: there: update mmedge: pip install -U mmedge"
