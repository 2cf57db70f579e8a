"""What can go wrong on the way to a board, one row each: what brings it about, the command, and the two lines that the user reads.

A row's command is run as it stands. It must end with the row's status, and all that was there before must be there unchanged after it: the bundle, the
cache, what the board has and what is live on it. The board is a real sshd on this machine; nothing here is a Jetson.
"""

from __future__ import annotations

import contextlib
import shlex

import pytest
import scene as by
from deploy import rows_of_bundles, rows_of_nvidia, rows_on_the_way

from mmedge.bundle import MANIFEST

pytestmark = pytest.mark.full

ROWS = [*rows_on_the_way.ROWS, *rows_of_bundles.ROWS, *rows_of_nvidia.ROWS]


@pytest.fixture
def scene(request, mmedge, tmp_path, toy_bundle, monkeypatch):
    with contextlib.ExitStack() as stack:
        yield by.Scene(request, tmp_path, toy_bundle, monkeypatch, stack)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_row(row, scene, mmedge):
    row.how(scene)
    before, there, live = scene.here(), scene.there(), scene.live()
    status, out, said = mmedge(*shlex.split(row.command)[1:])
    assert status == row.status and "Traceback" not in said, said
    assert row.shows in out if row.shows or not status else not out
    what, fix = said.splitlines()[-2:] if status else (f"error: {out}", f"fix: {out}")
    assert what.startswith("error: ") and row.what in what
    assert fix.startswith("fix: ") and row.fix in fix
    after = scene.here()
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after.keys() - before if not row.leaves or not name.startswith(row.leaves) or name.endswith(MANIFEST)]
    after = scene.there()
    assert {name: after.get(name) for name in there} == there and scene.live() == live


def test_no_row_is_there_twice():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 40
    assert len({(row.how, row.command) for row in ROWS}) == len(ROWS)
