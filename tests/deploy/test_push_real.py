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

    for command, schema in (("check", "mmedge.bundle/1"), ("compile", "mmedge.bundle/1"), ("profile", "mmedge.report/2")):
        extra = ["--seconds", "0.05", "--html", tmp_path / "page.html"] if command == "profile" else []
        status, out, said = mmedge(command, toy_bundle, "--on", "board", "--target", "cpu", *extra, "--json", cwd=tmp_path)
        assert (status, json.loads(out)["schema"]) == (0, schema), said
    assert (tmp_path / "page.html").read_text().startswith("<!")
    status, out, said = mmedge("profile", toy_bundle, "--on", "board", "--target", "cpu", "--seconds", "0.05", cwd=tmp_path)
    assert status == 0 and "image_encoder" in out, said

    with Bundle.writing(toy_bundle) as writing:  # the first answer that is expected becomes another
        eyes = writing.manifest.models["eyes"]
        index = next(index for index, case in enumerate(eyes.cases) if case.level == "verb" and case.expected is not None)
        cases = tuple(case.model_copy(update={"expected": "another answer"}) if at == index else case for at, case in enumerate(eyes.cases))
        writing.manifest = writing.manifest.model_copy(update={"models": {"eyes": eyes.model_copy(update={"cases": cases})}})
        writing.commit()
    status, out, said = mmedge("push", toy_bundle, "board", "--target", "cpu", "--json", cwd=tmp_path)
    assert (status, json.loads(out)["status"], board.live()) == (3, 3, made.release)
    assert "another answer" in json.loads(out)["error"] and json.loads(out)["error"].startswith("board: 1 of 3 checks failed on cpu")

    for given in (["rollback"], ["no", "target"]):
        arguments = ["--rollback"] if given == ["rollback"] else ["--target", "nonesuch"]
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
