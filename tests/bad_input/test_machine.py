"""What the machine refuses, what the shell closes, and how a command is left."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import pytest

from mmedge.need import need


def test_without_a_command_the_help_is_shown(mmedge):
    status, out, said = mmedge()
    assert (status, said) == (0, "") and "Start with: mmedge demo" in out


def test_an_error_beside_json_is_one_line(mmedge):
    _, out, _ = mmedge("run", "nowhere", "--json")
    assert out.count("\n") == 1 and json.loads(out)["schema"] == "mmedge.error/1"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError("Unable to allocate 3 EiB"), "not enough memory: Unable to allocate 3 EiB"),
        (OSError(errno.EACCES, "Permission denied", "/locked/x"), "Permission denied: /locked/x"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(refused, monkeypatch, error, what):
    def refuse():
        raise error

    monkeypatch.setattr("mmedge.deploy.doctor.doctor", refuse)
    assert refused("doctor")[0] == what


def test_other_errors_of_the_system_are_bugs(mmedge, monkeypatch):
    def refuse():
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("mmedge.deploy.doctor.doctor", refuse)
    status, _, said = mmedge("doctor")
    assert status == 1 and "Traceback" in said


def test_an_interrupted_import_is_an_interruption(monkeypatch):
    def interrupted(name):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("importlib.import_module", interrupted)
    with pytest.raises(KeyboardInterrupt):
        need("openvino", extra="openvino")


@pytest.mark.parametrize(
    ("redirect", "status"),
    [
        (">/dev/full", 2),
        ("--json >/dev/full", 2),
        (">&-", 0),
        (">&- 2>&- <&-", 0),
        ("2>&- | cat", 0),
    ],
)
def test_outputs_that_are_full_or_closed(redirect, status):
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{sys.executable} -m mmedge recipes {redirect}"], capture_output=True, text=True)
    assert done.returncode == status and "Traceback" not in done.stderr
    assert status == 0 or done.stderr.splitlines()[0] == "error: No space left on device"
