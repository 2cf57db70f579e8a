"""Reports from files: what is read, and what is refused in two lines that name the file."""

from __future__ import annotations

import json
import os
import threading

import pytest
from made import made_report

from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.profile import reading
from mmedge.profile.reading import read_report
from mmedge.profile.report import Profiles

OLD = {  # as mmedge 0.1.0 wrote it
    "schema": "mmedge.report/1",
    "bundle": "toy",
    "target": "cpu",
    "machine": {
        "cpu": "Intel(R) Xeon(R) Processor",
        "cores": 2,
        "memory_mb": 24105,
        "system": "Linux 6.18 x86_64",
        "python": "3.11.7",
        "board": None,
        "load": 0.48,
        "packages": {"onnxruntime": "1.31.1", "numpy": "2.4.6"},
    },
    "rows": [
        {
            "level": "graph",
            "name": "eyes/image_encoder",
            "where": "ort fp32",
            "latency": {"n": 64, "p50_ms": 0.021, "p90_ms": 0.031, "min_ms": 0.019, "max_ms": 0.088},
        },
        {"level": "verb", "name": "eyes.classify", "where": "cat.jpg", "latency": {"n": 12, "p50_ms": 0.3, "p90_ms": None, "min_ms": 0.2, "max_ms": 0.9}},
    ],
    "not_run": ["voice.speak: piper is not installed"],
}
GRAPH = ("rows", 0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.json"


@pytest.fixture
def refused(path):
    """Write that, read it, and return the two lines without the file's name."""

    def refused(content):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(MmedgeError) as error:
            read_report(path)
        assert error.value.status == 2 and error.value.what.startswith(str(path)) and error.value.fix
        assert len(str(error.value).splitlines()) == 2
        return error.value.what.removeprefix(str(path)), error.value.fix

    return refused


def whole():
    return json.loads(dump_json(made_report(calls=8)))


def changed(where, value):
    made = here = whole()
    for part in where[:-1]:
        here = here[part]
    here[where[-1]] = value
    return made


def test_what_was_written_is_read(path):
    one, other = made_report(calls=8), made_report("intel-cpu", calls=8)
    path.write_text(dump_json(one))
    assert read_report(path) == (one,)
    path.write_text(dump_json(Profiles(reports=(one, other), not_run=("jetson: no",))))
    assert read_report(path) == (one, other)


def test_the_previous_version_is_read_with_the_same_figures(path):
    path.write_text(json.dumps(OLD))
    (made,) = read_report(path)
    assert made.schema_ == "mmedge.report/2"
    assert [(row.level, row.name, row.where, row.latency.n, row.latency.p50_ms, row.latency.p90_ms) for row in made.rows] == [
        ("graph", "eyes/image_encoder", "ort fp32", 64, 0.021, 0.031),
        ("verb", "eyes.classify", "cat.jpg", 12, 0.3, None),
    ]
    assert made.rows[0].samples is None and made.verdict is None and made.startup is None
    assert (made.machine.packages["numpy"], made.not_run) == ("2.4.6", ("voice.speak: piper is not installed",))


def test_a_pipe_will_do(path):
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(json.dumps(OLD),))
    writer.start()
    assert read_report(path)[0].bundle == "toy"
    writer.join()


@pytest.mark.parametrize("schema", ["mmedge.report/3", "mmedge.profiles/2"])
def test_a_newer_version_is_refused_with_the_update(refused, schema):
    what, fix = refused({**whole(), "schema": schema})
    assert what.startswith(f" has schema {schema}, this mmedge reads up to ") and "pip install -U mmedge" in fix


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", " is empty"),
        ("{", " cannot be read as JSON"),
        ("[" * 100_000, " cannot be read as JSON"),
        ("\x00\x01", " cannot be read as JSON"),
        ("[]", " is not a report: it holds a JSON list"),
        ("{}", " is not a report (its schema is None)"),
        ({"schema": "mmedge.bundle/1"}, " is not a report (its schema is 'mmedge.bundle/1')"),
        ({"schema": ["mmedge.report/2"]}, " is not a report"),
        ({"schema": "mmedge.report"}, " is not a report"),
        ({"schema": "mmedge.report/two"}, " is not a mmedge.report document"),
        ({"schema": "mmedge.profiles/1", "reports": []}, " holds no report"),
        ({"schema": "mmedge.report/2"}, ": bundle: Field required"),
        (changed(("rows",), []), ": the report of cpu holds no measurement"),
        (changed((*GRAPH, "latency", "n"), 0), ": the report of cpu has no samples of vad/vad"),
        (changed((*GRAPH, "samples", "latency_ms"), []), ": the report of cpu has no samples of vad/vad"),
        (changed((*GRAPH, "latency", "n"), 7), ": the report of cpu says 7 calls of vad/vad and keeps the samples of 8"),
        (changed((*GRAPH, "latency", "p50_ms"), -1), ": the report of cpu says that vad/vad took -1.0 ms"),
        (changed((*GRAPH, "latency", "p50_interval_ms"), [-2, 1]), ": the report of cpu says that vad/vad took -2.0 ms"),
        (changed((*GRAPH, "samples", "latency_ms", 3), -0.5), ": the report of cpu says that vad/vad took -0.5 ms"),
        (changed((*GRAPH, "latency", "p50_ms"), float("nan")), " cannot be read as JSON: NaN is no figure"),
        (changed((*GRAPH, "samples", "latency_ms", 0), float("inf")), " cannot be read as JSON: Infinity is no figure"),
        (json.dumps(changed((*GRAPH, "latency", "p50_ms"), 123456789)).replace("123456789", "1e999"), " holds an infinite number"),
        (changed(("startup", "processes", 0, "peak_rss_mb"), -3), ": the report of cpu says that a start had peak_rss_mb -3.0"),
        (changed(("startup", "processes", 0, "p50_ms", "vad/vad"), -3), ": the report of cpu says that a start had p50_ms of vad/vad -3.0"),
        (changed((*GRAPH, "latency", "p50"), 1), ": unknown key rows.0.latency.p50"),
        (changed((*GRAPH, "level"), "layer"), ": rows.0.level: Input should be"),
        (changed(("machine",), None), ": machine: Input should be"),
    ],
    ids=lambda value: value.strip(" :")[:40].replace("/", "") if isinstance(value, str) else "document",
)
def test_what_is_no_report_is_refused(refused, content, what):
    assert refused(content)[0].startswith(what)


def test_a_mark_before_the_end_of_speech_is_no_damage(path):
    made = made_report(calls=8)
    turn = next(row for row in made.rows if row.level == "turn")
    early = turn.model_copy(update={"latency": turn.latency.model_copy(update={"min_ms": -20.0})})
    path.write_text(dump_json(made.model_copy(update={"rows": (early,)})))
    assert read_report(path)[0].rows == (early,)


def test_a_failed_profile_says_its_own_error(refused):
    failed = {"schema": "mmedge.error/1", "status": 2, "error": "toy.bundle is not compiled for cpu", "fix": "mmedge compile toy.bundle --target cpu"}
    assert refused(failed) == (" holds the error of a profile that failed: toy.bundle is not compiled for cpu", "mmedge compile toy.bundle --target cpu")


def test_a_file_larger_than_any_report_is_not_read(refused, monkeypatch):
    monkeypatch.setattr(reading, "LIMIT_MB", 1)
    assert refused(json.dumps(OLD) + " " * (1 << 20))[0] == " is larger than any report: over 1 MB"


def test_folders_and_files_that_are_not_there(tmp_path):
    (tmp_path / "toy.bundle").mkdir()
    (tmp_path / "toy.bundle" / "manifest.json").write_text("{}")
    for path, what, fix in [
        (tmp_path, "is a folder, not a report", "name a file"),
        (tmp_path / "toy.bundle", "is a bundle, not a report", f"mmedge profile {tmp_path / 'toy.bundle'} --json"),
        (tmp_path / "nowhere.json", "there is no report at", "check the path"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long", "see to that file"),
    ]:
        with pytest.raises(MmedgeError) as error:
            read_report(path)
        assert what in error.value.what and str(path) in error.value.what and fix in error.value.fix
