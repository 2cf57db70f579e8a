"""Names of shipped recipes and targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmedge import catalog
from mmedge.errors import MmedgeError

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("kind", ["recipes", "targets"])
def test_every_shipped_file_is_found_by_its_name(kind: catalog.Kind) -> None:
    assert catalog.names(kind) == sorted(path.stem for path in (ROOT / kind).glob("*.toml"))
    assert [catalog.find(kind, name) for name in catalog.names(kind)] == sorted((ROOT / kind).glob("*.toml"), key=lambda path: path.stem)


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert catalog.find("targets", "mine.toml") == tmp_path / "mine.toml"
    assert catalog.find("targets", str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"


def test_a_shipped_name_is_not_hidden_by_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu").touch()
    monkeypatch.chdir(tmp_path)
    assert catalog.find("targets", "cpu") == ROOT / "targets" / "cpu.toml"


@pytest.mark.parametrize(
    ("what", "said", "fix"),
    [
        ("intel-cpus", "there is no target 'intel-cpus'", "did you mean intel-cpu? Else use one of: "),
        ("zzz", "there is no target 'zzz'", "use one of: "),
        ("boards/zzz.toml", "there is no target file boards/zzz.toml", "check the path, or use one of: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(what: str, said: str, fix: str) -> None:
    with pytest.raises(MmedgeError) as caught:
        catalog.find("targets", what)
    assert caught.value.what == said
    assert caught.value.fix.startswith(fix)
    assert "intel-cpu" in caught.value.fix
