"""WebDataset's tar files."""

from __future__ import annotations

import json
import tarfile
import tracemalloc

import pytest
from evaluate.data_sets import png, tar, tone, write

from mmedge.errors import MmedgeError
from mmedge.evaluate.data import open_data

PAIR = [("0001.png", png("blue")), ("0001.txt", "A sea.\n"), ("0001.cls", "7"), ("0002.png", png()), ("0002.txt", "A rose.")]


def refused(path, **options):
    with pytest.raises(MmedgeError) as caught:
        list(open_data(path, **options))
    return caught.value.what


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_files_of_one_name_are_one_sample(tmp_path, name):
    data = open_data(tar(tmp_path / name, PAIR, "w" if name == "a.tar" else "w:gz"))
    first, second = data
    assert (len(data), first.key, first.fields["text"], first.fields["label"], "label" in second.fields) == (2, "0001", ["A sea."], "7", False)
    assert first.picture().getpixel((0, 0)) == (0, 0, 255) and second.picture().getpixel((0, 0)) == (255, 0, 0)


def test_json_and_named_media(tmp_path):
    sound = tone(tmp_path / "s.wav").read_bytes()
    sidecar = json.dumps({"caption": ["a", "b"], "split": "test"})
    members = [("d/1.spoken.wav", sound), ("d/1.json", sidecar), ("d/1.JPG", png()), ("d/1.boxes.json", "[1]"), ("d/1.xyz", "?"), ("d/README", "?")]
    data = open_data(tar(tmp_path / "a.tar", members))
    (sample,) = data
    assert sample.key == "d/1" and sorted(sample.fields) == ["boxes", "image", "split", "spoken", "text"]
    assert len(sample.sound("spoken")[0]) == 800 and sample.fields["boxes"] == [1] and dict(data.splits) == {"test": 1}


def test_shards_are_read_in_the_order_of_their_names_and_give_their_split(tmp_path):
    for split, number in (("train", 1), ("train", 0), ("val", 0)):
        tar(tmp_path / f"{split}-{number:06}.tar", [(f"{number}.txt", f"{split} {number}"), (f"{number}b.txt", "x")])
    assert [sample.key for sample in open_data(tmp_path, split="train")] == [f"train-00000{n}.tar:{n}{b}" for n in (0, 1) for b in ("", "b")]
    assert dict(open_data(tmp_path).splits) == {"train": 4, "validation": 2}
    assert {sample.key for sample in open_data(tmp_path, limit=3)} < {sample.key for sample in open_data(tmp_path)}


def _link(name, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return name, info


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([_link("1.png")], "holds the link or device 1.png"),
        ([_link("1.png", tarfile.LNKTYPE)], "holds the link or device 1.png"),
        ([_link("1.png", tarfile.FIFOTYPE)], "holds the link or device 1.png"),
        ([("../1.png", png())], "holds the name '../1.png', which leads outside"),
        ([("/etc/1.png", png())], "holds the name '/etc/1.png', which leads outside"),
        *[([(f"1.{ending}", b"\x80")], f"holds 1.{ending}: such files may run code") for ending in ("pyd", "pth", "pickle", "mask.npy")],
        ([("1.json", "{")], "1.json cannot be read: Expecting property name"),
        ([("1.txt", b"\xff")], "1.txt cannot be read: 'utf-8' codec"),
        ([("1.png", png()), ("1.jpg", png())], "the sample 1 has two files for the column image"),
        ([("README", "none")], "holds no samples"),
    ],
)
def test_what_is_refused(tmp_path, members, said):
    assert said in refused(tar(tmp_path / "a.tar", members))


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "gzip", "other"])
def test_a_damaged_tar_is_named(tmp_path, damage):
    path = tar(tmp_path / ("a.tgz" if damage == "gzip" else "a.tar"), [(f"{n}.png", png(size=64)) for n in range(9)], "w:gz" if damage == "gzip" else "w")
    whole = path.read_bytes()
    made = {"empty": b"", "cut": whole[:1500], "header": whole[:1024] + b"x" * 512 + whole[1536:], "gzip": whole[: len(whole) // 2], "other": b"x" * 2000}
    write(path, made[damage])
    assert refused(path).startswith(f"{path} is a damaged tar file: ")


def test_one_sample_is_in_memory_at_a_time(tmp_path):
    path = tar(tmp_path / "a.tar", [(f"{n:02}.png", bytes(1_000_000)) for n in range(30)])
    tracemalloc.start()
    assert sum(len(sample.fields["image"].content) for sample in open_data(path)) == 30_000_000
    peak, _ = tracemalloc.get_traced_memory()[1], tracemalloc.stop()
    assert peak < 6_000_000
