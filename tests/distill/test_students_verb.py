"""Students of a dual encoder, from the command: their teacher is another role of the recipe, and tiny."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.full

from distill.small_recipe import captioned, small_recipe  # noqa: E402

ROLE = """
[models.{role}]
family = "dual_encoder"
[models.{role}.train]
teacher = "{teacher}"
steps = 6
batch = 8
views = 2
{train}
[models.{role}.train.network]
kind = "dual_encoder"
[models.{role}.train.splits]
train = ""
folds = ["one", "two"]
"""
TEXT = """controls = ["dropped_layers"]
objectives = [{ kind = "contrastive" }, { kind = "affinity" }, { kind = "features", settings = { of = "text_features", projector = true } }]
student.text = { residual = 0.5, vocabulary = "whole" }"""
IMAGE = """objectives = [{ kind = "features", settings = { distance = "cosine" } }, { kind = "affinity" }]
student.image = { width = 0.5 }"""
BERT = 'model_type = "bert", hidden_size = 12, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 24, max_position_embeddings = 64'
CHARACTERS = 'student.text = { vocabulary = "characters", architecture = { ' + BERT + ' } }\nobjectives = [{ kind = "affinity" }]'


@pytest.fixture
def asked(tmp_path, mmedge):
    """``mmedge distill`` of a role beside the small recipe's own, ``eyes``, which is its teacher."""

    def asked(train, *arguments, role="student", teacher="eyes", taught=True):
        path = small_recipe(tmp_path / "recipe")
        path.write_text(path.read_text() + ROLE.format(role="student", teacher=teacher, train=train))
        if not (tmp_path / "data").exists():
            captioned(tmp_path / "data")
        command = ("distill", path, "--data", tmp_path / "data", "-o", tmp_path / "made")
        if taught and not (tmp_path / "made" / "eyes").exists():
            status, _, said = mmedge(*command)
            assert status == 0, said
        return mmedge(*command, "--role", role, *arguments)

    return asked


def lines(done):
    status, out, said = done
    what, fix = said.splitlines()[-2:]
    assert (status, out, what[:7], fix[:5]) == (2, "", "error: ", "fix: "), said
    return what[7:], fix[5:]


@pytest.mark.parametrize("train", [TEXT, IMAGE, CHARACTERS])
def test_a_student_stands_beside_its_teacher_and_itself_without_one(asked, tmp_path, train):
    from mmedge.nets.multimodal_checkpoint import load_checkpoint

    status, out, said = asked(train, "--json")
    assert status == 0, said
    made = json.loads(out)
    assert [arm["name"] for arm in made["arms"]][:3] == ["trained", "teacher", "without distillation"]
    assert len({arm["curve"]["steps"] for arm in made["arms"] if arm["curve"]}) == 1
    arms = {arm["name"]: arm for arm in made["arms"]}
    teacher, student = (load_checkpoint(tmp_path / "made" / role) for role in ("eyes", "student"))
    for arm, model in (("trained", student), ("teacher", teacher)):
        assert arms[arm]["parameters"] == sum(one.numel() for one in model.parameters())
    told = json.loads((tmp_path / "made" / "eyes.report.json").read_text())
    assert arms["teacher"]["figures"][0]["value"] == told["arms"][0]["figures"][0]["value"]
    live, other = ("image", "text") if train == IMAGE else ("text", "image")
    theirs, ours = teacher.state_dict(), student.state_dict()
    assert all((theirs[name] == ours[name]).all() for name in ours if name.startswith(f"towers.{other}."))
    assert not all(theirs[name].shape == ours[name].shape for name in ours if name.startswith(f"towers.{live}."))


def test_the_teacher_is_asked_once_and_a_damaged_shard_is_found(asked, tmp_path, monkeypatch):
    from mmedge import cache
    from mmedge.distill import teacher

    first = json.loads(asked(TEXT, "--json")[1])
    with monkeypatch.context() as patch:
        patch.setattr(teacher._Shards, "_compute", lambda *arguments: pytest.fail("the teacher was asked again"))
        patch.setattr("mmedge.distill.training._Loop.run", lambda *arguments: pytest.fail("it was trained again"))
        assert json.loads(asked(TEXT, "--json")[1])["arms"] == first["arms"]
    for shard in (cache.root() / "teachers").rglob("*.safetensors"):
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    _, out, said = asked(TEXT, "--json")
    assert "is damaged: it is computed anew" in said
    assert json.loads(out)["arms"] == first["arms"]


def test_pictures_without_texts(asked, tmp_path):
    status, out, said = asked(IMAGE, "--unlabelled", tmp_path / "more" if captioned(tmp_path / "more", 5, text=None, split=None) else None, "--json")
    assert status == 0, said
    arms = {arm["name"]: arm for arm in json.loads(out)["arms"]}
    assert "pictures: 5 in 1 view" in said
    assert arms["trained"]["curve"]["steps"] == arms["without distillation"]["curve"]["steps"] == 6


@pytest.mark.parametrize(
    ("train", "arguments", "what", "fix"),
    [
        (TEXT.replace(", projector = true", ""), (), "features: the student's vectors have 8 numbers, the teacher's 16", "write projector = true"),
        (TEXT.replace("affinity", "attention"), (), "the objectives need attentions, and there is none: towers do not give it", "use objectives of"),
        (TEXT, ("--unlabelled", "DATA"), "pictures without texts are for a picture student", "name one: [models.ROLE.train.student.image]"),
        (IMAGE.replace("features", "interactive").replace('distance = "cosine"', ""), ("--unlabelled", "DATA"), "pictures without texts serve no", "logits"),
        (TEXT + "\npseudo_pairs = 1", (), "conse and pseudo_pairs are for heads on encoders that stay as they are", "a student has its teacher's ConSE"),
        ("", (), "a teacher is named, and nothing that learns from it", "name a student"),
        (TEXT, ("--fold", "two"), "eyes was tested on one, and has been trained on two", "--role eyes --fold two"),
        (IMAGE.replace("width = 0.5", 'vocabulary = "pruned"'), (), "a student that looks at pictures has no vocabulary", "give it depth and width"),
        (IMAGE.replace("width = 0.5", "layers = [7]"), (), "layers = [7] does not fit a teacher with 1", "name some of 0 to 0"),
    ],
)
def test_students_that_do_not_fit(asked, tmp_path, monkeypatch, train, arguments, what, fix):
    found = lines(asked(train, *(tmp_path / "data" if one == "DATA" else one for one in arguments)))
    assert what in found[0]
    assert fix in found[1]
    assert not (tmp_path / "made" / "student").exists()


def test_all_is_tuned(asked, mmedge, tmp_path):
    """Without a teacher, from the recipe's encoders; and with one, from the teacher's model."""
    from mmedge.nets.multimodal_checkpoint import load_checkpoint

    recipe = small_recipe(tmp_path / "recipe", train='tune = "all"')
    status, _, said = mmedge("distill", recipe, "--data", captioned(tmp_path / "data"), "-o", tmp_path / "made")
    assert status == 0, said
    encoders = load_checkpoint(tmp_path / "made" / "eyes").state_dict()
    status, _, said = asked('tune = "all"\nobjectives = [{ kind = "contrastive" }, { kind = "relational" }]')
    assert status == 0, said
    tuned = load_checkpoint(tmp_path / "made" / "student").state_dict()
    moved = [name for name in tuned if ".encoder." in name and not (tuned[name] == encoders[name]).all()]
    assert any(name.startswith("towers.image.") for name in moved) and any(name.startswith("towers.text.") for name in moved)


def test_a_teacher_that_is_not_there(asked):
    what, fix = lines(asked(TEXT, taught=False))
    assert "student learns from eyes, and there is no" in what
    assert fix.startswith("distill it first: mmedge distill small --data data -o ")
    assert fix.endswith("--role eyes --fold one")
    assert "has no other role 'ears' for student to learn from" in lines(asked(TEXT, teacher="ears"))[0]


def test_a_student_without_a_teacher(asked):
    assert "a student is made of its teacher" in lines(asked(TEXT, teacher="", taught=False))[0]


def test_the_teacher_may_read_another_column(asked, mmedge, tmp_path):
    """The student reads what the teacher never sees."""
    data = captioned(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    (data / "metadata.jsonl").write_text("\n".join(json.dumps({**row, "backwards": row["text"][::-1]}) for row in rows))
    status, out, said = asked(CHARACTERS + '\ncolumns = { text = "backwards", teacher_text = "text" }', "--json")
    assert status == 0, said
    arms = {arm["name"]: arm for arm in json.loads(out)["arms"]}
    told = json.loads((tmp_path / "made" / "eyes.report.json").read_text())
    assert arms["teacher"]["figures"][0]["value"] == pytest.approx(told["arms"][0]["figures"][0]["value"])


def test_projectors_are_trained_and_kept(tmp_path):
    """An interruption changes no loss, although what is compared goes through a projector."""
    import torch
    from distill.toy_work import Line, Work, plan
    from safetensors.numpy import load_file

    from mmedge.distill.training import processes, train
    from mmedge.nets.objectives import WeightedSum
    from mmedge.training import Objective

    class Projecting(Line):
        def __init__(self):
            super().__init__()
            self.loss = WeightedSum([Objective(kind="features", settings={"of": "y", "projector": True})], {"y": (3, 5)})

        def forward(self, x):
            return self.loss.project(super().forward(x))

    class Learning(Work):
        def __init__(self, until=None):
            super().__init__()
            self.module, self.until = Projecting(), until
            self.teacher = self.x @ torch.ones(4, 5)

        def inputs(self, chosen, step):
            if step == self.until:
                raise KeyboardInterrupt
            return super().inputs(chosen, step)

        def losses(self, outputs, chosen, step):
            return self.module.loss({**outputs, "teacher_y": self.teacher[chosen]})

    accelerator = processes("fp32")

    def losses(folder, work):
        return [one.loss for one in train(work, plan(), folder, accelerator, lambda line: None).losses]

    whole = Learning()
    before = whole.module.loss.projectors["features_y"].weight.detach().clone().numpy()
    wanted = losses(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        losses(tmp_path / "parts", Learning(until=8))
    resumed = Learning()
    torch.nn.init.zeros_(resumed.module.loss.projectors["features_y"].weight)
    assert losses(tmp_path / "parts", resumed) == wanted
    kept = load_file(tmp_path / "parts" / "step-000012" / "model.safetensors")["loss.projectors.features_y.weight"]
    np.testing.assert_array_equal(kept, whole.module.loss.projectors["features_y"].weight.detach().numpy())
    assert np.abs(kept - before).max() > 0.1
    assert wanted[-1] < wanted[0] / 2
