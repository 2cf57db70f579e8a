"""Data sets as folders and tables: what is read, what is selected, and what is said of a damaged one."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from evaluate.data_sets import colours, json_lines, png, tone, write

from mmedge.errors import MmedgeError
from mmedge.evaluate.data import Tally, Unreadable, open_data


def refused(path, **options):
    with pytest.raises(MmedgeError) as caught:
        list(open_data(path, **options))
    return caught.value.what, caught.value.fix


def table(folder, text, name="metadata.csv"):
    write(folder / name, text)
    for file in re.findall(r"[\w/]+\.png", text):
        write(folder / file, png())
    return folder


def test_a_table_beside_its_pictures(tmp_path):
    data = open_data(table(tmp_path / "d", 'file_name,caption,note\na.png,"A cat, red.",x\nb/c.png,Two,y\n,,\n'))
    first, second, third = data
    assert (data.name, len(data), data.columns) == ("d", 3, {"image", "text", "note"})
    assert (first.fields["text"], first.fields["note"], first.fields["image"].name) == (["A cat, red."], "x", "a.png")
    assert (second.key, dict(third.fields)) == ("b/c.png#3", {})
    assert first.picture().mode == "RGB" and first.picture().getpixel((0, 0)) == (255, 0, 0)


def test_several_files_in_a_row_and_sounds(tmp_path):
    tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav", 0.2, 16000), write(tmp_path / "a.png", png("blue"))
    json_lines(tmp_path / "metadata.jsonl", [{"file_name": "a.wav", "image_file_name": "a.png", "spoken_file_name": "b.wav", "transcription": "Hi.", "n": 3}])
    (sample,) = open_data(tmp_path)
    assert sorted(sample.fields) == ["audio", "image", "n", "spoken", "transcript"]
    samples, rate_hz = sample.sound("spoken")
    assert (samples.dtype, len(samples), rate_hz, sample.fields["n"]) == (np.float32, 3200, 16000, 3)
    assert len(sample.sound()[0]) == 800


def test_a_table_of_any_name_with_paths_in_a_column(tmp_path):
    tone(tmp_path / "clips" / "1.wav")
    write(tmp_path / "dev.csv", "path,sentence\nclips/1.wav,Hello\n")
    (sample,) = open_data(tmp_path / "dev.csv", columns={"audio": "path"})
    assert len(sample.sound()[0]) == 800 and sample.fields["transcript"] == "Hello"


def test_texts_may_be_lists(tmp_path):
    answers = [{"answer": "yes"}] * 2
    data = open_data(json_lines(tmp_path / "a.jsonl", [{"text": ["a", "b"], "answers": answers, "label": 3}, {"text": "[c]", "answers": "no", "label": None}]))
    assert [sample.fields.get("text") for sample in data] == [["a", "b"], ["[c]"]]
    assert [sample.fields["answers"] for sample in data] == [["yes", "yes"], ["no"]]
    assert data.labels == ("3",)
    assert next(iter(open_data(write(tmp_path / "b.csv", 'text\n"[""a"", ""b""]"\n')))).fields["text"] == ["a", "b"]


def test_folders_are_classes_and_splits(tmp_path):
    colours(tmp_path / "train", 2), colours(tmp_path / "val", 1, ["red"])
    write(tmp_path / "train" / ".hidden" / "x.png", png()), write(tmp_path / "notes.txt", "none")
    data = open_data(tmp_path)
    assert (dict(data.splits), data.labels, len(data)) == ({"train": 6, "validation": 1}, ("blue", "green", "red"), 7)
    (sample,) = open_data(tmp_path, split="val")
    assert (sample.key, sample.fields["label"], sample.fields["split"]) == ("val/red/0.png", "red", "validation")
    assert len(open_data(tmp_path, split="train+validation")) == 7


def test_tables_in_the_folders_of_splits_and_a_split_column(tmp_path):
    for split in ("train", "test"):
        table(tmp_path / "a" / split, "file_name,label\n1.png,x\n2.png,y\n")
    assert dict(open_data(tmp_path / "a").splits) == {"test": 2, "train": 2}
    data = open_data(table(tmp_path / "b", "file_name,split\n1.png,fold_0\n2.png,fold_1\n3.png,fold_0\n"), split="fold_0")
    assert [sample.fields["image"].name for sample in data] == ["1.png", "3.png"]


def test_a_limit_draws_by_its_seed_and_grows_by_adding(tmp_path):
    data = colours(tmp_path, 20)
    keys = lambda **options: [sample.key for sample in open_data(data, **options)]  # noqa: E731
    few, more = keys(limit=10, seed=1), keys(limit=20, seed=1)
    assert len(few) == 10 and set(few) < set(more) and few == sorted(few) and keys(limit=10, seed=1) == few
    assert keys(limit=10, seed=2) != few and keys(limit=1000) == keys()


def test_a_limit_draws_among_those_that_have_what_is_needed(tmp_path):
    data = json_lines(tmp_path / "d.jsonl", [{"text": str(n), **({"label": "x"} if n % 10 == 0 else {}), "split": "ab"[n % 20 // 10]} for n in range(100)])
    some = open_data(data, limit=4, split="a").having(["label"])
    assert (len(some), some.lacking, {sample.fields["text"][0] for sample in some} <= {"0", "20", "40", "60", "80"}) == (4, 45, True)
    assert len(open_data(data).having(["label"])) == 10 and len(open_data(data).having(["label"]).having(["none"])) == 0


def test_a_fingerprint_is_of_the_selection_and_not_of_the_place(tmp_path):
    colours(tmp_path / "a"), colours(tmp_path / "b")
    a, b = open_data(tmp_path / "a"), open_data(tmp_path / "b")
    assert a.fingerprint() == b.fingerprint() == a.fingerprint() and re.fullmatch("[0-9a-f]{64}", a.fingerprint())
    assert len({a.fingerprint(), *(open_data(tmp_path / "a", limit=4, seed=seed).fingerprint() for seed in (0, 1))}) == 3
    path = tmp_path / "b" / "red" / "0.png"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")  # of the same name and size
    assert open_data(tmp_path / "b").fingerprint() != a.fingerprint()
    path.write_bytes(content)
    assert open_data(tmp_path / "b").fingerprint() == a.fingerprint()


def test_data_are_read_anew_each_time_and_only_when_asked_for(tmp_path):
    colours(tmp_path, 1)
    write(tmp_path / "red" / "0.png", b"")
    data = open_data(tmp_path)
    assert [sample.fields["label"] for sample in data] == [sample.fields["label"] for sample in data] == ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("column", "content", "said"),
    [("image", None, "x.png is not there"), ("audio", None, "x.wav is not there"), ("image", b"no", "x.png is not a picture"),
     ("image", png(size=64)[:90], "x.png is a damaged picture"), ("audio", b"RIFF0000WAVE", "x.wav is a damaged WAV file"),
     ("audio", "silent", "x.wav: the sound lasts no time")],
)  # fmt: skip
def test_what_cannot_be_decoded_is_named(tmp_path, column, content, said):
    name = "x.png" if column == "image" else "x.wav"
    if content == "silent":
        tone(tmp_path / name, 0)
    elif content is not None:
        write(tmp_path / name, content)
    (sample,) = open_data(json_lines(tmp_path / "d.jsonl", [{"file_name": name}]))
    with pytest.raises(Unreadable) as caught:
        sample.picture() if column == "image" else sample.sound()
    assert caught.value.what.startswith(said) and str(tmp_path) not in caught.value.what


def test_a_pipe_is_not_waited_for_and_odd_names_can_be_printed(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    write(tmp_path / os.fsdecode(b"b\xff.png"), png())
    pipe, odd = open_data(tmp_path)
    with pytest.raises(Unreadable, match=r"a\.png is not there, or no plain file"):
        pipe.picture()
    assert odd.key == odd.fields["image"].name == "b?.png" and odd.picture().size == (4, 4)


def test_unreadable_samples_are_counted_until_they_are_too_many():
    tally = Tally("d", 200, 0.01)
    tally.add(Unreadable("a.png is not a picture", "save it"))
    tally.add(Unreadable("b.png is not a picture", "save it"))
    with pytest.raises(MmedgeError) as caught:
        tally.add(Unreadable("c.png is cut off", "copy it"))
    assert caught.value.what == "3 of the 200 samples of d cannot be read, and 1% may be: a.png is not a picture; b.png is not a picture; c.png is cut off"
    assert caught.value.fix == "copy it; or allow more: --max-unreadable 0.05"


def test_nothing_to_read(tmp_path):
    assert refused(tmp_path / "none")[0] == f"there is no data at {tmp_path / 'none'}"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty")[0] == f"{tmp_path / 'empty'} holds no samples"
    assert "is no data set" in refused(write(tmp_path / "a.parquet", "x"))[0]
    assert refused(write(tmp_path / "b.jsonl", "\n"))[0] == f"{tmp_path / 'b.jsonl'} holds no samples"
    assert refused(write(tmp_path / "c.csv", "a,b\n"))[0].endswith("c.csv holds no samples")
    assert "a limit of 0" in refused(tmp_path, limit=0)[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [("a,b\n1,2\n3\n", "line 3: it has 1 cells, and the header 2"), ("a,a\n1,2\n", "line 1: two columns are called 'a'"),
     ('a,b\n1,"2\n', "line 2: unexpected end of data"), (b"a\n\xff\n", "line 2: it is not UTF-8"), ("a\n1\0\n\0", None)],
)  # fmt: skip
def test_a_damaged_csv_is_named_by_its_line(tmp_path, text, said):
    write(tmp_path / "d.csv", text)
    if said is None:  # not every Python's csv module takes a NUL for damage
        return
    what, fix = refused(tmp_path / "d.csv")
    assert what.startswith(f"{tmp_path / 'd.csv'}, {said}") and fix == "correct that line"


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": 1}\n{"a": \n', "line 2: Expecting value"), ("[1]\n", "line 1: it is no JSON object"), ("[" * 100_000, "line 1: maximum recursion"),
     ('{"a": ' + "1" * 5000 + "}", "line 1: Exceeds the limit"), (b'{"a": "\xff"}', "line 1: it is not UTF-8"), ('{"text": {"en": 1}}', "line 1: "),
     ('{"text": "\\ud800"}', "line 1: 'utf-8' codec can't encode"),
     ('{"transcript": ["a"]}', "line 1: transcript is [\"a\"], and not a text"), ('{"text": [1.5]}', "line 1: [1.5] is neither a text nor a list of texts"),
     ('{"image": {"bytes": 1}}', "line 1: image names no file")],
)  # fmt: skip
def test_damaged_json_lines_are_named_by_their_line(tmp_path, text, said):
    write(tmp_path / "d.jsonl", text)
    assert refused(tmp_path / "d.jsonl")[0].startswith(f"{tmp_path / 'd.jsonl'}, {said}")


def test_a_byte_order_mark_and_an_index_of_pandas_are_no_damage(tmp_path):
    (sample,) = open_data(write(tmp_path / "d.csv", "\ufeff,text\n0,A cat.\n"))
    assert dict(sample.fields) == {"text": ["A cat."]}


def test_columns_that_are_not_there(tmp_path):
    data = write(tmp_path / "d.csv", "caption_en,caption_zh\nA cat.,猫\n")
    assert next(iter(open_data(data, columns={"text": "caption_zh"}))).fields["text"] == ["猫"]
    assert refused(data, columns={"text": "captionzh"}) == ("d.csv has no column 'captionzh'", "did you mean caption_zh? Columns: caption_en, caption_zh")
    assert refused(data, columns={"texts": "caption_zh"})[0] == "there is no use for a column 'texts'"
    both = write(tmp_path / "e.csv", "text,caption\na,b\n")
    assert dict(next(iter(open_data(both))).fields) == {"text": ["a"], "caption": "b"}
    assert dict(next(iter(open_data(both, columns={"text": "caption"}))).fields) == {"text": ["b"]}


def test_a_split_that_does_not_exist(tmp_path):
    data = colours(tmp_path / "train", 1).parent
    assert refused(data, split="trian")[1] == "did you mean train? Its splits: train (3)"
    assert refused(data, split="zzz") == (f"{data.name} has no split 'zzz'", "its splits: train (3)")
    assert "has no splits" in refused(colours(tmp_path / "flat"), split="test")[0]


def test_nothing_outside_the_folder_is_read(tmp_path):
    write(tmp_path / "secret.png", png())
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        what, _ = refused(json_lines(tmp_path / "d" / "metadata.jsonl", [{"file_name": name}]).parent)
        assert f"line 1: {name} leads outside" in what
    os.symlink(tmp_path / "secret.png", tmp_path / "d" / "link.png")
    assert "link.png leads outside" in refused(json_lines(tmp_path / "d" / "metadata.jsonl", [{"file_name": "link.png"}]).parent)[0]
    (tmp_path / "d" / "metadata.jsonl").unlink()
    assert "link.png leads outside" in refused(tmp_path / "d")[0]
    (tmp_path / "linked").mkdir()
    os.symlink(tmp_path / "d", tmp_path / "linked" / "red")
    assert "red is a link to a folder" in refused(tmp_path / "linked")[0]
    write(tmp_path / "secret.csv", "text\nx\n"), write(tmp_path / "secret.tar", ""), (tmp_path / "t").mkdir(), (tmp_path / "u").mkdir()
    os.symlink(tmp_path / "secret.csv", tmp_path / "t" / "metadata.csv"), os.symlink(tmp_path / "secret.tar", tmp_path / "u" / "a.tar")
    assert "metadata.csv leads outside" in refused(tmp_path / "t")[0] and "a.tar leads outside" in refused(tmp_path / "u")[0]
    json_lines(tmp_path / "e" / "metadata.jsonl", [{"file_name": "a\0.png"}])
    assert "is no name of a file" in refused(tmp_path / "e")[0]


def test_a_folder_by_a_relative_path_and_through_a_link(tmp_path, monkeypatch):
    for place in ("a", "b"):
        colours(tmp_path / place / "data", 1)
        monkeypatch.chdir(tmp_path / place)
        assert [sample.picture().size for sample in open_data("data")] == [(4, 4)] * 3
        monkeypatch.chdir(tmp_path / place / "data")
        assert open_data(".").name == "data" and next(iter(open_data("."))).key == "blue/0.png"
    os.symlink(tmp_path / "a" / "data", tmp_path / "link")
    assert len(open_data(tmp_path / "link")) == 3


def test_a_class_that_never_appears(tmp_path):
    (colours(tmp_path) / "white").mkdir()
    assert refused(tmp_path)[0].startswith("the class 'white' never appears")


def test_two_tables_or_one_that_is_not_read(tmp_path):
    write(tmp_path / "metadata.csv", "a\n1\n"), write(tmp_path / "metadata.jsonl", "{}\n")
    assert "has a metadata.csv and a metadata.jsonl" in refused(tmp_path)[0]
    assert "is not read" in refused(write(tmp_path / "p" / "metadata.parquet", "").parent)[0]


def test_the_others_are_what_a_selection_leaves_out(tmp_path):
    rows = [{"text": f"n{number}", "split": "test" if number % 4 == 0 else "train", **({"label": "odd"} if number % 2 else {})} for number in range(40)]
    json_lines(tmp_path / "rows.jsonl", rows)
    every = {one.key for one in open_data(tmp_path / "rows.jsonl")}
    for data in (open_data(tmp_path / "rows.jsonl", split="test"), open_data(tmp_path / "rows.jsonl", limit=7), open_data(tmp_path / "rows.jsonl")):
        chosen, others = ([one.key for one in some] for some in (data, data.others()))
        assert not set(chosen) & set(others) and {*chosen, *others} == every and len(chosen) + len(others) == 40
    others = open_data(tmp_path / "rows.jsonl", split="train", limit=5).having(["label"]).others()
    assert len(others) == 15 and all("label" in one.fields for one in others)
    drawn = others.at_most(4)
    assert {one.key for one in drawn} < {one.key for one in others} and [one.key for one in drawn] == [one.key for one in others.at_most(4)]
    assert drawn.fingerprint() == others.at_most(4).fingerprint() != others.fingerprint()
