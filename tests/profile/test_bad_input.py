"""What profile and compare answer to bad input: two lines, and a status."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from made import made_report

from mmedge.documents import dump_json


@pytest.fixture
def reports(tmp_path):
    """Two reports, the second slower by 1.5."""
    for name, speed in (("before", 1.0), ("after", 1 / 1.5)):
        (tmp_path / f"{name}.json").write_text(dump_json(made_report(calls=100, seed=len(name), speed=speed)))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--mode", "open"], "there is no mode 'open'"),
        (["--rate", "30"], "--rate is for paced calls"),
        (["--mode", "paced"], "paced calls need a rate"),
        *(
            (["--mode", "paced", "--rate", rate], f"--rate {rate} is no rate")
            for rate in ("0", "-1", "nan", "inf", "1e9", "fast", "poisson:", "normal:30", "poisson:0")
        ),
        *((["--seconds", seconds], "cannot be the time of each row") for seconds in ("0", "-1", "nan", "inf", "1e6")),
        (["--mode", "paced", "--rate", "0.1", "--seconds", "3"], "at 0.1 Hz not one call is due in 3 s"),
        (["--seconds", "many"], "Invalid value for '--seconds'"),
        (["--html", "nowhere/profile.html"], "there is no folder nowhere for the page"),
        (["--html", "."], ". is a folder"),
        (["--target", "cpuu"], "there is no target 'cpuu'"),
        (["--target", "all", "--target", "cpuu"], "there is no target 'cpuu'"),
        (["--target", "intel-cpu"], "toy.bundle is not compiled for intel-cpu"),
        (["--target", "intel-cpu", "--target", "jetson"], "toy.bundle is not compiled for intel-cpu, jetson"),
    ],
)
def test_a_profile_that_cannot_be_made_is_refused_before_anything_is_measured(refused, toy_bundle, options, what):
    found, fix = refused("profile", "toy.bundle", *(["--target", "cpu"] if "--target" not in options else []), *options)
    assert what in found and fix


def test_a_page_without_its_packages_is_refused_before_anything_is_measured(refused, toy_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    assert refused("profile", "toy.bundle", "--target", "cpu", "--html", "profile.html") == ("altair is not installed", 'pip install "mmedge[page]"')


def test_a_bundle_without_an_engine_for_the_target(refused, toy_bundle):
    assert refused("profile", "toy.bundle", "--target", "null", "--json") == (
        "toy.bundle is not compiled for null",
        "mmedge compile toy.bundle --target null, or use what it is compiled for: --target cpu",
    )


def test_a_target_whose_runtime_is_not_here(refused, toy_bundle):
    manifest = json.loads((toy_bundle / "manifest.json").read_text())
    manifest["engines"]["jetson"] = {name: {**placed, "backend": "tensorrt"} for name, placed in manifest["engines"]["cpu"].items()}
    (toy_bundle / "manifest.json").write_text(json.dumps(manifest))
    assert "tensorrt" in refused("profile", "toy.bundle", "--target", "jetson")[0]


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        ('{"schema": "mmedge.report/9"}', "report.json has schema mmedge.report/9, this mmedge reads up to mmedge.report/2", "pip install -U mmedge"),
        ('{"schema": "mmedge.report/2", "bundle": ', "report.json cannot be read as JSON", "measure again"),
        ('{"schema": "mmedge.turn/1"}', "report.json is not a report", "mmedge profile"),
        (dump_json(made_report(calls=8)).replace('"n": 8,', '"n": 0,', 1), "has no samples of vad/vad", "measure again"),
    ],
    ids=["newer", "damaged", "other", "no-samples"],
)
def test_files_that_are_no_reports(refused, reports, tmp_path, content, what, fix):
    (tmp_path / "report.json").write_text(content)
    for order in (["report.json", "before.json"], ["before.json", "report.json"]):
        found, todo = refused("compare", *order)
        assert what in found and fix in todo


def test_a_bundle_is_not_a_report(refused, reports, toy_bundle):
    assert refused("compare", "before.json", "toy.bundle") == (
        "toy.bundle is a bundle, not a report",
        "name a file; it is made by: mmedge profile toy.bundle --json > report.json",
    )


def test_one_report_alone(refused, reports):
    assert refused("compare", "before.json") == (
        "before.json has nothing to be compared with",
        "name two reports or more: mmedge compare before.json after.json",
    )
    assert "Missing argument 'REPORT...'" in refused("compare")[0]


@pytest.mark.parametrize("percent", ["-1", "nan", "inf"])
def test_no_percentage(refused, reports, percent):
    found, fix = refused("compare", "before.json", "after.json", "--max-regression", percent)
    assert found == f"--max-regression {percent} is no percentage" and "--max-regression 5" in fix


def test_a_slowdown_past_the_limit_has_status_3(refused, reports):
    found, fix = refused("compare", "before.json", "after.json", "--max-regression", "40", status=3, shows="1.50x slower in after")
    assert found.startswith("more than 40 % slower: vad/vad 1.50x in after, ears/encoder 1.50x in after")
    assert "says what changed" in fix
    assert refused("compare", "before.json", "after.json", "--max-regression", "40", "--json", status=3) == (found, fix)


def test_a_limit_that_not_every_time_can_be_held_to_is_no_pass(refused, reports):
    """A row of the made reports drifts; a limit that nothing stable exceeds must not be green all the same."""
    found, fix = refused("compare", "before.json", "after.json", "--max-regression", "400", shows="slower in after")
    assert found.startswith("not every time can be held to 400 %: eyes/text_encoder (before was drifting)")
    assert "quiet machine" in fix


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_leaves_does_not_change_what_is_found(reports, tmp_path, more):
    """As ``mmedge compare a b | head -1`` with a pipe whose other end is closed already."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mmedge", "compare", "before.json", "after.json", "--max-regression", "40", *more]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 3
    assert done.stderr.startswith("error: more than 40 % slower: ") and len(done.stderr.splitlines()) == 2
