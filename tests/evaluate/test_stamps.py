"""The converter of Tux Paint's stamps, on a small package made here and on the real one."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections import Counter

import pytest
from evaluate.data_sets import png, write

from mmedge.errors import MmedgeError
from mmedge.evaluate import debian, stamps
from mmedge.evaluate.data import open_data
from mmedge.evaluate.nouns import head_noun
from mmedge.evaluate.stamps import SHA256, Stamp, main, splits, write_stamps

TEXTS = {
    "animals/cat": "A black cat.\nde.utf8=Eine Katze.\nzh_CN.utf8=黑猫。\n",
    "animals/cat_2": "Two cats.\nzh_CN.utf8=A cat\n",
    "food/egg": "An egg.\n",
    "symbols/letters/a": "The letter A.\n",
    "symbols/letters/b": "The letter B.\n",
}


def deb(path, members, below="usr/share/tuxpaint/stamps"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for member, content in members.items():
            info = tarfile.TarInfo(f"./{below}/{member}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    ar = b"!<arch>\n"
    for title, content in ((b"debian-binary", b"2.0\n"), (b"control.tar.xz", b"odd"), (b"data.tar.xz", packed.getvalue())):
        ar += b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (title, 0, 0, 0, 0o644, len(content)) + content + b"\n" * (len(content) % 2)
    return write(path, ar)


@pytest.fixture
def package(tmp_path):
    members = {f"{name}.png": png() for name in [*TEXTS, "animals/cat_mirror"]} | {f"{name}.txt": text.encode() for name, text in TEXTS.items()}
    sounds = dict.fromkeys(("animals/cat.ogg", "animals/cat_desc.ogg", "animals/cat_desc_fr.ogg", "food/egg.wav", "food/egg_de.ogg"), b"sound")
    return deb(tmp_path / "s.deb", {**members, **sounds, "food/egg.dat": b"x"})


def test_the_folder_that_is_written_reads_as_data(tmp_path, package):
    made = write_stamps(package, tmp_path / "out")
    assert sum(made.values()) == 5 and made["train"] == 2
    data = {sample.fields["image"].name: sample.fields for sample in open_data(tmp_path / "out")}
    cat, other = data["animals/cat.png"], data["animals/cat_2.png"]
    assert (cat["text"], cat["text_zh"], cat["transcript"], cat["label"]) == (["A black cat."], "黑猫。", "black cat", "animals")
    assert (cat["audio"].name, cat["natural"].name, data["food/egg.png"]["natural"].name) == ("animals/cat_desc.ogg", "animals/cat.ogg", "food/egg.wav")
    assert "text_zh" not in other and "audio" not in other and "subcategory" not in cat and data["symbols/letters/a.png"]["subcategory"] == "letters"
    assert (cat["text_unnamed"], other["text_unnamed"]) == ("A black thing.", "Two thing.") and "kind" not in cat
    assert cat["split"] == other["split"] != data["food/egg.png"]["split"]
    assert sorted(file.name for file in (tmp_path / "out").rglob("*.ogg")) == ["cat.ogg", "cat_desc.ogg"]
    assert not list(tmp_path.glob(".out*")) and not list((tmp_path / "out").rglob("*mirror*"))


def test_what_is_alike_stays_together_and_folds_are_of_equal_size():
    named = [("a/cat.png", "A cat."), ("a/x.png", "Two Cats!"), ("a/cat-3.png", "A lion."), ("a/lion.png", "The lion"), ("a/y.png", "A cat")]
    others = [(f"b/{'pqrstuvwxyz'[n % 11]}{'abcdefgh'[n // 11]}.png", f"A thing{chr(97 + n // 26)}{chr(97 + n % 26)}.") for n in range(45)]
    symbols = [("symbols/letters/a.png", "A"), ("symbols/letters/b.png", "B"), ("symbols/shapes/star.png", "A star."), ("space/star.png", "A star.")]
    split = splits([Stamp(name, text, "", "", "") for name, text in [*named, *others, *symbols]])
    assert len({split[name] for name, _ in named}) == 1
    assert {split[name] for name, _ in symbols} == {"train"}
    assert Counter(split.values()) == {"train": 4, **{f"fold_{n}": 10 for n in range(5)}}


@pytest.mark.parametrize(
    ("caption", "noun"),
    [("A bunch of red grapes.", "grape"), ("The tail of a lion", "tail"), ("Two knives, a fork", "knife"), ("A spider playing soccer.", "soccer"),
     ("A dog with a bone", "dog"), ("Berries (ripe) in a bowl", "berry"), ("An octopus!", "octopus"), ("A pair of glasses", "glass"), ("12!", "")],
)  # fmt: skip
def test_head_nouns(caption, noun):
    assert head_noun(caption) == noun


def test_refusals(tmp_path, package, capsys):
    assert main([str(tmp_path / "out"), "--package", str(tmp_path / "none.deb")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main([str(tmp_path / "out"), "--package", str(package)]) == 2
    assert f"has sha256 {hashlib.sha256(package.read_bytes()).hexdigest()}, and {SHA256} is wanted" in capsys.readouterr().err
    for content in (b"no package", b"!<arch>\n", package.read_bytes()[:300]):
        with pytest.raises(MmedgeError, match="is no Debian package that can be read"):
            write_stamps(write(tmp_path / "bad.deb", content), tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(MmedgeError, match="is there already"):
        write_stamps(package, tmp_path / "there")
    assert sorted(os.listdir(tmp_path)) == ["bad.deb", "s.deb", "there"]


def test_apt_is_asked_once_and_what_it_gives_is_verified(tmp_path, package, monkeypatch, capsys):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    digest, asked = hashlib.sha256(package.read_bytes()).hexdigest(), []

    def apt(packages, folder):
        asked.append(packages)
        (folder / "x_1_all.deb").write_bytes(package.read_bytes())

    monkeypatch.setattr(debian, "download", apt)
    monkeypatch.setattr(stamps, "SHA256", digest)
    assert main([str(tmp_path / "a")]) == main([str(tmp_path / "b")]) == 0
    assert asked == [["tuxpaint-stamps-default=2022.06.04-1"]] and "5 stamps: fold_0" in capsys.readouterr().err
    monkeypatch.setattr(stamps, "SHA256", "0" * 64)
    assert main([str(tmp_path / "c")]) == 2
    assert "_all.deb, and give it with --package FILE" in capsys.readouterr().err


def test_no_apt_and_one_that_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MmedgeError, match="there is no apt-get here"):
        debian.download(["x"], tmp_path)
    write(tmp_path / "apt-get", "#!/bin/sh\necho 'E: Unable to locate package x' >&2; exit 100\n").chmod(0o755)
    with pytest.raises(MmedgeError, match="could not download x: Unable to locate package x"):
        debian.download(["x"], tmp_path)
