"""Commands, run as their users run them."""

from __future__ import annotations

import io
import json
import signal
import sys

import pytest

from mmedge import cli


@pytest.fixture
def mmedge(monkeypatch, capsys, tmp_path):
    """Run a command in this process; returns (status, stdout, stderr)."""

    def mmedge(*arguments):
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["mmedge", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        try:
            with pytest.raises(SystemExit) as left:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    return mmedge


@pytest.fixture
def refused(mmedge):
    """Run a command that must fail by the user's fault; returns its two lines without their labels."""

    def refused(*arguments, status=2):
        got, out, said = mmedge(*arguments)
        what, fix = said.splitlines()[-2:]
        assert (got, what[:7], fix[:5]) == (status, "error: ", "fix: ") and "Traceback" not in said
        assert out == "" or (json.loads(out)["error"], json.loads(out)["status"]) == (what[7:], status)
        return what[7:], fix[5:]

    return refused
