"""What a newcomer, a bad disk and a hostile bundle do to the commands: two lines, status 2, and everything that was there stays as it was."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmedge import cli, hub
from mmedge.build import load
from mmedge.bundle import MANIFEST, Bundle
from mmedge.errors import MmedgeError
from mmedge.need import need

GRAPH = ("models", "eyes", "graphs", "image_encoder")
CASES = ("models", "eyes", "cases")
PLACED = ("engines", "cpu", "eyes/image_encoder")
TARGET = 'schema = "mmedge.target/1"\nname = "mine"\nsummary = ""\nbackends = ["ort"]\nmax_opset = 18\nmax_ir = 10\n'
RECIPE = 'schema = "mmedge.recipe/1"\nname = "x"\n[models.eyes]\nfamily = "toy"\n'
GOLDEN = Path(__file__).parents[1] / "mmedge" / "golden"


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


def edit(bundle, where, value):
    """Set one value of a manifest."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    here = manifest
    for part in where[:-1]:
        here = here[part]
    here[where[-1]] = value
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def swap(bundle, where, content):
    """Replace a file of the bundle, its checksum in the manifest too: what only somebody with a purpose does."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    entry = manifest
    for part in where:
        entry = entry[part]
    (bundle / entry["path"]).write_bytes(content)
    edit(bundle, (*where, "sha256"), hashlib.sha256(content).hexdigest())
    edit(bundle, (*where, "size_bytes"), len(content))


def state(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"name": ' + "1" * 5000 + "}", "cannot be read as JSON"),
        ("null", "Input should be a valid dictionary"),
        ('{"schema": "mmedge.bundle/²"}', "is not a mmedge.bundle document"),
        ('{"schema": "mmedge.bundle/' + "9" * 5000 + '"}', "is not a mmedge.bundle document"),
    ],
)
def test_a_manifest_that_is_none(refused, toy_bundle, text, what):
    (toy_bundle / MANIFEST).write_text(text)
    found, fix = refused("inspect", toy_bundle)
    assert what in found and (fix.startswith(("export the bundle again", "it should begin")))


@pytest.mark.parametrize(
    ("where", "value", "what"),
    [
        ((*GRAPH, "file", "path"), "a\0b", "would lie outside the bundle"),
        ((*GRAPH, "file", "path"), "x" * 5000, "File name too long"),
        ((*GRAPH, "file", "size_bytes"), "many", "valid integer"),
        ((*GRAPH, "file", "size_bytes"), 10**30, "is damaged"),
        ((*GRAPH, "file", "sha256"), "0" * 63, "should match pattern"),
        (("models",), {}, "models: Dictionary should have at least 1 item"),
        (("models", "eyes", "graphs"), {}, "graphs: Dictionary should have at least 1 item"),
        (("models", "eyes", "assets"), {}, "the model 'eyes' lacks its colours.json"),
        (("models", "eyes", "family"), "../toy", "there is no model family '../toy'"),
        (("models", "eyes", "config"), {"sise": 8}, "unknown key sise"),
        (("models", "eyes", "config"), {"size": 10**6}, "size: Input should be less than"),
        ((*PLACED, "backend"), "os.path", "there is no backend 'os.path'"),
        ((*PLACED, "precision"), "fp7", "precision: Input should be"),
        ((*CASES, 1, "call"), "__class__", "calls __class__(image), which the family toy does not offer"),
        ((*CASES, 1, "args"), {"picture": "@cat"}, "calls embed_image(picture), which the family toy does not offer"),
        ((*CASES, 1, "args"), {"image": "@dog"}, "lacks the medium @dog"),
        ((*CASES, 1, "args"), {"image": 7}, "a int is not a picture"),
        ((*CASES, 1, "arrays"), ["other"], "lacks case/1/other"),
    ],
)
def test_a_manifest_that_promises_what_is_not_there(refused, toy_bundle, where, value, what):
    edit(toy_bundle, where, value)
    before = state(toy_bundle)
    assert what in refused("check", toy_bundle, "-t", "cpu")[0]
    assert state(toy_bundle) == before


def test_profile_calls_nothing_either_that_the_family_does_not_offer(refused, toy_bundle):
    edit(toy_bundle, (*CASES, 1, "call"), "__init__")
    assert "does not offer" in refused("profile", toy_bundle, "-t", "cpu")[0]


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("run-by-a-pickle",)


def _npz(name, content):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, content)
    return made.getvalue()


def _with_pickle():
    made = io.BytesIO()
    np.savez(made, **{"graph/image_encoder/in/pixel_values": np.array([Hostile()], dtype=object)})
    return made.getvalue()


def _huge():
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000,), }".ljust(117).encode() + b"\n"
    return _npz("graph/image_encoder/in/pixel_values.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no golden data"),
        (b"PK\x03\x04 and then nothing", "is no golden data"),
        (_with_pickle(), "Object arrays cannot be loaded"),
        (_huge(), "Unable to allocate"),
        (_npz("readme.txt", "hello"), "lacks the graph image_encoder"),
    ],
    ids=["empty", "no zip", "pickle", "huge", "other"],
)
def test_golden_data_that_is_none_even_under_the_right_checksum(refused, toy_bundle, content, what):
    swap(toy_bundle, ("models", "eyes", "golden"), content)
    for command in ("check", "compile", "profile"):
        assert what in refused(command, toy_bundle, "-t", "cpu")[0]
    assert not Path("run-by-a-pickle").exists()


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_graph_that_no_runtime_opens_is_no_failed_gate(refused, toy_bundle, content):
    swap(toy_bundle, (*GRAPH, "file"), content)
    assert "can be opened by no backend of cpu: ort fp32: onnxruntime" in refused("compile", toy_bundle, "-t", "cpu")[0]


@pytest.mark.parametrize("instead", ["folder", "pipe", "link"])
def test_something_else_in_the_place_of_a_file(refused, toy_bundle, tmp_path, instead):
    path = next(toy_bundle.glob("eyes/colours.*"))
    content = path.read_bytes()
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "outside.json").write_bytes(content)
        path.symlink_to(tmp_path / "outside.json")
    assert str(path) in refused("check", toy_bundle, "-t", "cpu")[0]


def test_an_export_replaces_what_is_damaged_and_keeps_what_is_whole(mmedge, toy_bundle):
    graph = next(toy_bundle.glob("eyes/image_encoder.*"))
    asset = next(toy_bundle.glob("eyes/colours.*"))
    written_ns, good = graph.stat().st_mtime_ns, asset.read_bytes()
    (toy_bundle / MANIFEST).write_text("{")
    asset.write_bytes(b"damaged")
    (toy_bundle / ".scratch-killed").mkdir()
    status, _, said = mmedge("export", "toy", "-t", "cpu", "-o", toy_bundle)
    assert status == 0, said
    assert graph.stat().st_mtime_ns == written_ns and asset.read_bytes() == good
    assert mmedge("inspect", toy_bundle)[0] == 0 and not list(toy_bundle.glob(".scratch-*"))


def test_an_export_does_not_write_through_a_link(refused, toy_bundle, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (toy_bundle / "eyes").rename(tmp_path / "old")
    (toy_bundle / "eyes").symlink_to(tmp_path / "elsewhere")
    assert "would land outside the bundle" in refused("export", "toy", "-t", "cpu", "-o", toy_bundle)[0]
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("command", [("export", "toy", "-o"), ("compile",), ("check",)])
def test_a_full_disk_leaves_the_bundle_as_it_was(refused, toy_bundle, monkeypatch, command):
    before = state(toy_bundle)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    what, fix = refused(*command, toy_bundle, "-t", "cpu")
    assert "no space left to write" in what and "free some space" in fix
    assert state(toy_bundle) == before


def test_no_room_for_a_graph_on_its_way_into_the_bundle(refused, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "no space left to write new.bundle" in refused("export", "toy", "-t", "cpu", "-o", "new.bundle")[0]


def test_an_answer_that_is_no_number_fails_its_gate(refused, toy_bundle, monkeypatch):
    monkeypatch.setattr("mmedge.families.toy.session.Session.embed_image", lambda self, image: np.full(3, np.nan, np.float32))
    assert "first verb eyes.embed_image" in refused("check", toy_bundle, "-t", "cpu", status=3)[0]
    assert [gate.passed for gate in Bundle.open(toy_bundle).manifest.gates["check cpu"]] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('precisions = {ort = ["fp31"]}', "precisions.ort.0: Input should be 'fp32'"),
        ("precisions = {ort = []}", "precisions.ort: Tuple should have at least 1 item"),
        ('precisions = {ort = ["fp16"]}', "no backend of mine works here: ort: it offers none of fp16"),
        ('options = {ort = {providers = "CPUExecutionProvider"}}', "target mine: options.ort: providers: Input should be a valid tuple"),
        ("options = {ort = {thread = 2}}", "target mine: options.ort: unknown key thread"),
        ("options = {ort = {threads = -2}}", "threads: Input should be greater than or equal to 0"),
        ('options = {ort = {providers = ["NopeExecutionProvider"]}}', "onnxruntime here has none of the providers NopeExecutionProvider"),
    ],
)
def test_a_target_that_asks_for_what_is_not_there(refused, toy_bundle, text, what):
    Path("mine.toml").write_text(TARGET + text)
    before = state(toy_bundle)
    assert what in refused("compile", toy_bundle, "-t", "mine.toml")[0]
    assert state(toy_bundle) == before


def test_a_target_of_older_runtimes_is_refused_by_compile_too(refused, toy_bundle):
    Path("mine.toml").write_text(TARGET.replace("max_opset = 18", "max_opset = 11"))
    assert "is opset 18" in refused("compile", toy_bundle, "-t", "mine.toml")[0]


@pytest.mark.parametrize(
    ("what", "said", "fix"),
    [
        ("", "there is no recipe ''", "use one of"),
        ("file:", "names no path", "write file:path"),
        ("https://huggingface.co/openai/whisper-tiny.en", "neither a folder here nor a recipe", "mmedge export hf:openai/whisper-tiny.en@main"),
        ("openai/whisper-tiny.en@v2", "neither a folder here nor a recipe", "mmedge export hf:openai/whisper-tiny.en@v2"),
        ("./nowhere", "there is no file or folder ./nowhere", "the folder of a checkpoint"),
        ("nowhere.onnx", "there is no file or folder nowhere.onnx", "an ONNX file"),
        ("notes.txt", "is a file, but no recipe", "name a recipe"),
        ("file:notes.txt", "is a file", "name the folder"),
        ("model.bin", "is a pickle", "name the folder"),
        ("model.gguf", "is of llama.cpp", "take the checkpoint"),
        ("model.onnx", "is not a valid ONNX file", "undamaged"),
        ("lost.toml", "there is no folder", "starts at the recipe"),
        ("none.toml", "names neither files nor a folder for its dual_encoder model", "folder ="),
        ("x" * 3000, "File name too long", "name another"),
        ("empty", "it holds no config.json", "WhisperForConditionalGeneration, and most others of transformers"),
        ("listed", "its config.json names no architecture", "CLIPModel"),
        ("other", "neither a model family nor transformers", "nearest: LlamaForCausalLM"),
        ("text", "cannot be read as JSON", "undamaged"),
    ],
)
def test_what_cannot_be_exported(refused, what, said, fix):
    for name in ("notes.txt", "model.bin", "model.gguf", "model.onnx"):
        Path(name).write_text("mine")
    Path("lost.toml").write_text(RECIPE.replace('"toy"', '"dual_encoder"') + 'folder = "nowhere"\n')
    Path("none.toml").write_text(RECIPE.replace('"toy"', '"dual_encoder"'))
    Path("text").mkdir()
    Path("text/config.json").write_text("[" * 100_000)
    for name, config in (("empty", None), ("listed", {"architectures": [{}]}), ("other", {"architectures": ["LamaForCausalLM"]})):
        Path(name).mkdir()
        if config:
            (Path(name) / "config.json").write_text(json.dumps(config).replace("[{}]", "5"))
    found = refused("export", what, "-t", "cpu", "-o", "new.bundle", "--offline")
    assert said in found[0] and fix in found[1]
    assert not (Path("new.bundle") / MANIFEST).exists()


@pytest.fixture
def bert(mmedge):
    """A whole checkpoint in the folder ``bert``, and what it is changed with."""
    from checkpoints.auto import make_bert

    make_bert(Path("bert"))
    return Path("bert")


def without(folder, *keys):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in weights.items() if key not in keys}, folder / "model.safetensors", {"format": "pt"})
    return weights


def damage(folder, how):
    import torch
    from safetensors.torch import save_file

    path = folder / "model.safetensors"
    if how == "pickle":
        torch.save(without(folder), folder / "pytorch_model.bin")
        path.unlink()
    elif how == "missing":
        without(folder, "classifier.weight")
    elif how == "extra":
        save_file({**without(folder), "other.weight": torch.ones(2)}, path, {"format": "pt"})
    elif how == "NaN":
        weights = without(folder)
        weights["classifier.bias"][1] = float("nan")
        save_file(weights, path, {"format": "pt"})
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "shard":
        path.unlink()
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    else:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, **how}))


@pytest.mark.parametrize(
    ("how", "what", "fix"),
    [
        ("pickle", "holds its weights as a pickle (pytorch_model.bin)", "convert it: python -c"),
        ("missing", "lacks weights of BertForSequenceClassification: classifier.weight", "--any-weights"),
        ("extra", "holds weights that BertForSequenceClassification has not: other.weight", "--any-weights"),
        ("NaN", "hold NaN or infinity: classifier.bias", "undamaged"),
        ("cut", "model.safetensors is damaged or cut off", "get it again"),
        ("shard", "lacks model-00001-of-00002.safetensors of the 1 files", "missing files"),
        ({"hidden_size": "wide"}, "Field 'hidden_size' expected int, got str", "correct it"),
        ({"num_labels": 5}, "weights of another shape: classifier.bias [3] instead of [5]", "--any-weights"),
        ({"model_type": "brain"}, "model_type 'brain', which transformers", "config.json that was saved"),
        ({"auto_map": {"AutoModel": "own.OwnModel"}}, "wants to run its own code: own.OwnModel", "--trust-code"),
        ({"auto_map": {"AutoModel": "a/b--own.OwnModel"}}, "code of another repository: a/b", "into the folder"),
    ],
    ids=str,
)
def test_checkpoints_that_are_refused(refused, bert, how, what, fix):
    damage(bert, how)
    found = refused("export", bert, "-t", "cpu", "-o", "new.bundle", "--offline")
    assert what in found[0] and fix in found[1]
    assert not (Path("new.bundle") / MANIFEST).exists()


@pytest.mark.full
@pytest.mark.parametrize("how", ["missing", "extra"])
def test_wrong_weights_are_accepted_by_whoever_says_so(mmedge, bert, how):
    damage(bert, how)
    status, _, said = mmedge("export", bert, "-t", "cpu", "-o", "new.bundle", "--any-weights")
    assert status == 0, said
    assert "--any-weights" in mmedge("inspect", "new.bundle")[1].splitlines()[0], "a bundle says what was accepted for it"


def test_a_target_that_takes_no_such_opset(refused, mmedge):
    from checkpoints.sources import make_classifier

    make_classifier(Path("folder"), "image")
    Path("mine.toml").write_text(TARGET.replace("max_opset = 18", "max_opset = 11"))
    assert "is opset 18" in refused("export", "folder", "-t", "mine.toml", "-o", "new.bundle")[0]


def test_a_module_runs_only_when_it_is_asked_for(refused):
    Path("mine.toml").write_text(RECIPE.replace('family = "toy"', 'module = "beside:factory"'))
    Path("beside.py").write_text("open('ran', 'w')")
    what, fix = refused("export", "mine.toml", "-t", "cpu")
    assert "wants to run code: beside:factory" in what and "--trust-code" in fix
    assert "beside is not installed" in refused("export", "mine.toml", "-t", "cpu", "--trust-code")[0]
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("base", "what"), [("nowhere", "is not there: nowhere"), ("owner/name", "hf:owner/name@main"), (None, "does not say which model it was trained on")]
)
def test_an_adapter_without_its_base(refused, base, what):
    Path("tuned").mkdir()
    Path("tuned/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    assert what in refused("export", "tuned", "-t", "cpu", "--offline")[0]


@pytest.mark.parametrize("file", ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"])
def test_a_folder_of_optimum_that_is_not_whole(refused, mmedge, file):
    from checkpoints.sources import make_speech

    make_speech(Path("folder"), merged=False)
    whole = Path("folder", file).read_bytes()
    Path("folder", file).write_bytes(whole[: len(whole) // 2])
    assert f"{file} is not a valid ONNX file" in refused("export", "folder", "-t", "cpu")[0]
    Path("folder", file).unlink()
    if file != "encoder_model.onnx":  # without it the two decoders are graphs like any other
        assert f"lacks {file}" in refused("export", "folder", "-t", "cpu")[0]


def test_a_bundle_is_no_checkpoint(toy_bundle):
    with pytest.raises(MmedgeError, match="is a bundle already") as caught:
        load.recipe_for(str(toy_bundle), offline=True, trace=print)
    assert "mmedge compile" in caught.value.fix


def test_a_users_folder_is_not_hashed_without_need(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    assert hub.fetch(f"file:{tmp_path}", sha256=None) == tmp_path


def test_no_network_and_nothing_cached(refused):
    what, fix = refused("export", "-t", "cpu", "-o", "new.bundle", "--offline")
    assert "pip:silero-vad" in what and "is not in the cache" in what and "without --offline" in fix
    assert not (Path("new.bundle") / MANIFEST).exists()


def test_a_cache_that_cannot_be(refused, monkeypatch):
    monkeypatch.setenv("MMEDGE_CACHE", "/proc/nowhere")
    Path("weights.bin").write_bytes(b"x")
    Path("mine.toml").write_text(
        RECIPE + f'files = {{"w.bin" = {{sources = ["file:{Path("weights.bin").absolute()}"], sha256 = "{hashlib.sha256(b"x").hexdigest()}"}}}}\n'
    )
    assert "the cache /proc/nowhere cannot be written" in refused("export", "mine.toml", "-t", "cpu", "-o", "new.bundle")[0]


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


def test_doctor_on_a_board_without_anything(monkeypatch):
    from mmedge.deploy import doctor as module
    from mmedge.target import Target

    jetson = Target.load("jetson")
    monkeypatch.setattr(Target, "detected", classmethod(lambda cls: jetson))
    monkeypatch.setattr(module, "have", lambda name: False)
    for name in ("openvino", "ref"):
        monkeypatch.setattr(f"mmedge.backends.{name}.have", lambda name: False)
    found = {finding.name: finding for finding in module.doctor().findings}
    assert found["backend tensorrt"].state == "missing" and found["backend tensorrt"].fix.endswith("on ort")
    assert found["backend openvino"].found == "openvino is not installed; jetson does not use it"
    assert "another machine" in found["torch"].found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.full
def test_a_check_of_the_real_bundle_is_stopped(assistant_bundle, tmp_path, number):
    path = shutil.copytree(assistant_bundle, tmp_path / "assistant.bundle", copy_function=os.link)  # files are replaced, never changed
    before = (path / MANIFEST).read_bytes()
    process = subprocess.Popen([sys.executable, "-m", "mmedge", "check", path, "-t", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(3)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert number == signal.SIGKILL or said.splitlines()[-2:] == ["error: interrupted", "fix: run it again: what was complete is kept"]
    assert (path / MANIFEST).read_bytes() == before
    Bundle.open(path)


@pytest.fixture
def sounds(tmp_path):
    from mmedge.processors.audio import load_sound
    from mmedge.processors.wav import write_wav

    samples, rate_hz = load_sound(GOLDEN / "question.wav")
    write_wav(tmp_path / "empty.wav", samples[:0], rate_hz)
    write_wav(tmp_path / "silence.wav", np.zeros(32_000, np.float32), rate_hz)
    good = (GOLDEN / "question.wav").read_bytes()
    (tmp_path / "coding.wav").write_bytes(good[:20] + b"\x63\x00" + good[22:])
    (tmp_path / "longer.wav").write_bytes(good[:40] + (10**9).to_bytes(4, "little") + good[44:])
    (tmp_path / "text.wav").write_text("hello")
    return tmp_path


@pytest.mark.full
@pytest.mark.parametrize("mic", ["empty.wav", "silence.wav"])
def test_a_recording_without_speech_is_no_error(assistant_bundle, mmedge, sounds, mic):
    status, out, said = mmedge("run", assistant_bundle, "-t", "cpu", "--mic", mic, "--camera", "none", "--speaker", "answer.wav")
    assert status == 0 and out.endswith("nobody spoke\n") and said == ""
    assert not Path("answer.wav").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    ("mic", "speaker", "what"),
    [
        ("coding.wav", "none", "coded in a way that FFmpeg does not know"),
        ("longer.wav", "none", "is cut off"),
        ("text.wav", "none", "is not a sound that can be read: Invalid data found when processing input"),
        ("/dev/zero", "none", "is a device, which may never end"),
        (GOLDEN / "question.wav", "nowhere/answer.wav", "nowhere/answer.wav cannot be written"),
        (GOLDEN / "question.wav", "answer.mp3", "answers are written as WAV"),
        (GOLDEN / "question.wav", "/dev/full", "no space left to write /dev/full"),
    ],
)
def test_sounds_that_are_none_and_speakers_that_fail(assistant_bundle, refused, sounds, mic, speaker, what):
    assert what in refused("run", assistant_bundle, "-t", "cpu", "--mic", mic, "--camera", "none", "--speaker", speaker)[0]


@pytest.mark.full
def test_a_demo_does_not_use_a_damaged_bundle(assistant_bundle, tmp_path):
    from mmedge.demo import _ready
    from mmedge.recipe import Recipe
    from mmedge.target import Target

    recipe, cpu = Recipe.load("assistant-mini"), Target.load("cpu")
    assert _ready(assistant_bundle, recipe, cpu) is not None
    path = shutil.copytree(assistant_bundle, tmp_path / "damaged.bundle", copy_function=os.link)
    next(path.glob("eyes/things.*")).unlink()
    assert _ready(path, recipe, cpu) is None and _ready(tmp_path / "nothing", recipe, cpu) is None
