"""What the README promises."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import typer

from mmedge.cli import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("#")[0].partition(" > ")[0].strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line.startswith("mmedge ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist_with_these_options(line):
    _, name, *arguments = shlex.split(line)
    if name.startswith("-"):
        return
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, arguments)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", TEXT)) <= targets


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert [name for name in re.findall(r"`(mmedge/[\w/.]+)`", TEXT) if not (ROOT / name).exists() and "NAME" not in name] == []


@pytest.mark.full
def test_the_python_block_runs(assistant_bundle, monkeypatch):
    monkeypatch.chdir(ROOT)
    block = next(block for kind, block in BLOCKS if kind == "python")
    assert "demo/assistant-mini.bundle" in block
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block.replace("demo/assistant-mini.bundle", str(assistant_bundle)), "README.md", "exec"), {})
    described, answered, listened, classified = said.getvalue().splitlines()
    assert "cat" in described.lower() or "mau" in described.lower()
    assert answered.startswith("Yes")
    assert listened.startswith("Is there a cat in the picture? -> Yes")
    assert classified.startswith("[('a coffee cup',")
