"""Steps: done once, whole or not at all, bounded, and never taken from under somebody's feet."""

from __future__ import annotations

import errno
import json
import os
import threading

import pytest

from mmedge import cache
from mmedge.errors import MmedgeError
from mmedge.optimize import steps
from mmedge.optimize.steps import step, versions


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))


class Work:
    """Writes what it is told to, and counts."""

    def __init__(self, content="made", size=0):
        self.content, self.size, self.calls = content, size, 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "below").mkdir()
        (folder / "below" / "a.txt").write_text(self.content)
        (folder / "b.bin").write_bytes(b"\0" * self.size)


def done(work, kind="made", **key):
    with step(kind, key, work) as folder:
        return (folder / "below" / "a.txt").read_text()


def folders():
    return sorted((cache.root() / "steps").iterdir())


def test_a_step_is_done_once_for_each_key():
    work = Work()
    assert [done(work, graph="a", options={"bits": 4}, nodes=("x", "y")) for _ in range(3)] == ["made"] * 3
    assert work.calls == 1
    for key in ({"graph": "b"}, {"graph": "a", "options": {"bits": 8}}):
        done(work, **key)
    done(work, kind="other", graph="b")
    assert work.calls == 4
    told = json.loads((folders()[0] / "step.json").read_text())
    assert set(told) == {"kind", "key", "files"} and set(told["files"]) == {"below/a.txt", "b.bin"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "added", "index", "key"])
def test_what_is_damaged_is_made_again(damage):
    work = Work(size=10)
    done(work, graph="a")
    (folder,) = folders()
    content, index = folder / "content", folder / "step.json"
    {
        "flipped": lambda: (content / "below" / "a.txt").write_text("mode"),
        "cut": lambda: (content / "b.bin").write_bytes(b"\0"),
        "missing": lambda: (content / "b.bin").unlink(),
        "added": lambda: (content / "c").write_text(""),
        "index": lambda: index.write_text("{"),
        "key": lambda: index.write_text(index.read_text().replace('"graph": "a"', '"graph": "b"')),
    }[damage]()
    for _ in range(2):
        assert done(work, graph="a") == "made"
    assert work.calls == 2 and folders() == [folder]


def test_what_fails_is_not_kept_and_leaves_nothing():
    def fails(folder):
        (folder / "half").write_text("")
        raise MmedgeError("the tool refuses", "use another")

    with pytest.raises(MmedgeError, match="the tool refuses"), step("made", {}, fails):
        pass
    assert not (cache.root() / "steps").exists() and not list((cache.root() / "tmp").iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_in_two_lines(number):
    def fills(folder):
        raise OSError(number, "no room")

    with pytest.raises(cache.NoSpace, match="no space left on the disk of the cache"), step("made", {}, fills):
        pass


def test_together_they_are_bounded_and_the_one_that_was_not_asked_for_the_longest_goes(monkeypatch):
    monkeypatch.setattr(steps, "LIMIT_BYTES", 6300)
    for number, graph in enumerate("abcd"):
        done(Work(size=1000), graph=graph)
        os.utime(_named(graph) / "step.json", (number, number))
    done(Work(), graph="a")  # asked for again: now it is the youngest
    done(Work(size=1500), graph="e")
    assert {graph for graph in "abcde" if _named(graph)} == {"a", "c", "d", "e"}


def test_none_that_is_in_use_is_removed(monkeypatch):
    monkeypatch.setattr(steps, "LIMIT_BYTES", 2500)
    with step("made", {"graph": "a"}, Work(size=1000)) as used, step("made", {"graph": "a"}, Work()):
        os.utime(_named("a") / "step.json", (0, 0))
        done(Work(size=1000), graph="b")
        done(Work(size=1000), graph="c")
        assert used.is_dir() and not _named("b")
    os.utime(_named("a") / "step.json", (0, 0))
    done(Work(size=1000), graph="d")
    assert not used.exists()


def _named(graph):
    return next((folder for folder in folders() if f'"graph": "{graph}"' in (folder / "step.json").read_text()), None)


def test_who_asks_for_the_same_waits_for_it():
    begun, go_on, work = threading.Event(), threading.Event(), Work()

    def slow(folder):
        begun.set()
        assert go_on.wait(30)
        work(folder)

    found = []
    first = threading.Thread(target=lambda: found.append(done(slow, graph="a")))
    second = threading.Thread(target=lambda: found.append(done(slow, graph="a")))
    first.start()
    assert begun.wait(30)
    second.start()
    done(Work(), graph="b")  # another one need not wait
    go_on.set()
    first.join(30), second.join(30)
    assert found == ["made", "made"] and work.calls == 1


def test_a_step_may_need_others():
    inner = Work("inner")

    def outer(folder):
        with step("inner", {}, inner) as found:
            (folder / "copy").write_text((found / "below" / "a.txt").read_text())

    with step("outer", {}, outer) as folder:
        assert (folder / "copy").read_text() == "inner"


def test_versions_are_of_what_is_named_and_of_what_is_not_there():
    found = versions("numpy", "no-such-package")
    assert set(found) == {"mmedge", "numpy", "no-such-package"} and found["numpy"] and found["no-such-package"] == ""
