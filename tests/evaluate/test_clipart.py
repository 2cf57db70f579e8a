"""Clip art as pictures without captions, from a small package made here."""

from __future__ import annotations

import pytest
from evaluate.data_sets import png
from evaluate.test_stamps import deb
from PIL import Image

from mmedge.errors import MmedgeError
from mmedge.evaluate.clipart import main, write_clipart
from mmedge.evaluate.data import open_data


def package(tmp_path, members):
    return deb(tmp_path / "c.deb", members, below="usr/share/openclipart/png")


def test_things_are_written_and_signs_are_not(tmp_path):
    members = {"animals/cat.png": png("red", 700), "food/fruit/pear.png": png("green", 30), "animals/broken.png": b"odd"}
    members |= dict.fromkeys(("shapes/star.png", "transportation/roadsigns/stop.png"), png()) | {"animals/cat.txt": b"A cat"}
    assert write_clipart(package(tmp_path, members), tmp_path / "out") == 2
    data = open_data(tmp_path / "out")
    assert sorted(sample.fields["image"].name for sample in data) == ["animals/cat.png", "food/fruit/pear.png"]
    with Image.open(tmp_path / "out" / "animals" / "cat.png") as cat:
        assert cat.size == (320, 320)
    assert not list(tmp_path.glob(".out*"))


def test_refusals(tmp_path, capsys):
    made = package(tmp_path, {"shapes/star.png": png()})
    with pytest.raises(MmedgeError, match="holds no clip art"):
        write_clipart(made, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    with pytest.raises(MmedgeError, match="is there already"):
        write_clipart(made, tmp_path)
    made.write_bytes(b"odd")
    assert main([str(tmp_path / "out"), "--package", str(made)]) == 2
    assert "has sha256" in capsys.readouterr().err
