"""Targets that ask for what there is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tampering import state

TARGET = 'schema = "mmedge.target/1"\nname = "mine"\nsummary = ""\nbackends = ["ort"]\nmax_opset = 18\nmax_ir = 10\n'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('precisions = {ort = ["fp31"]}', "precisions.ort.0: Input should be 'fp32'"),
        ("precisions = {ort = []}", "precisions.ort: Tuple should have at least 1 item"),
        ('precisions = {ort = ["fp16"]}', "no backend of mine works here: ort: it offers none of fp16"),
        ('options = {ort = {providers = "CPUExecutionProvider"}}', "target mine: options.ort: providers: Input should be a valid tuple"),
        ("options = {ort = {thread = 2}}", "target mine: options.ort: unknown key thread"),
        ("options = {ort = {threads = -2}}", "threads: Input should be greater than or equal to 0"),
        ('options = {ort = {providers = ["NopeExecutionProvider"]}}', "onnxruntime here has none of the providers NopeExecutionProvider"),
    ],
)
def test_a_target_that_asks_for_what_is_not_there(refused, toy_bundle, text, what):
    Path("mine.toml").write_text(TARGET + text)
    before = state(toy_bundle)
    assert what in refused("compile", toy_bundle, "-t", "mine.toml")[0]
    assert state(toy_bundle) == before


def test_a_target_of_older_runtimes_is_refused_by_compile_too(refused, toy_bundle):
    Path("mine.toml").write_text(TARGET.replace("max_opset = 18", "max_opset = 11"))
    assert "is opset 18" in refused("compile", toy_bundle, "-t", "mine.toml")[0]


def test_a_target_that_takes_no_such_opset(refused, mmedge):
    from checkpoints.sources import make_classifier

    make_classifier(Path("folder"), "image")
    Path("mine.toml").write_text(TARGET.replace("max_opset = 18", "max_opset = 11"))
    assert "is opset 18" in refused("export", "folder", "-t", "mine.toml", "-o", "new.bundle")[0]
