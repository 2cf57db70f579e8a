"""Every target, recipe and family that exists, by its file."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import RootModel

from mmedge import catalog
from mmedge.documents import validate
from mmedge.errors import MmedgeError
from mmedge.family import family_names, load_family
from mmedge.recipe import Recipe
from mmedge.runner import backend_names
from mmedge.target import Target


@pytest.mark.parametrize("name", catalog.names("targets"))
def test_target(name):
    target = Target.load(name)
    assert set(target.precisions) | set(target.options) <= set(target.backends)
    # The one backend that is not here yet is built on the board itself, and the target says so.
    assert set(target.backends) <= set(backend_names()) | ({"tensorrt"} if target.build_on == "device" else set())


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_recipe(name):
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.summary
    for role, model in recipe.models.items():
        validate(model.options, load_family(model.family).Options, role)
    assert {scene.picture for scene in recipe.demo} <= set(recipe.media)


@pytest.mark.parametrize("name", family_names())
def test_family(name):
    family, session = load_family(name), load_family(name, "session").Session
    assert all(callable(getattr(session, call)) for call in family.CALLS)
    assert all(set(backends) <= {*backend_names(), "tensorrt"} for backends in family.PREFER.values())
    kinds = get_args(family.Config.model_fields["root"].annotation) if issubclass(family.Config, RootModel) else (family.Config,)
    for settings in (family.Options, *kinds):
        assert settings.model_config["extra"] == "forbid"
        assert settings.model_config["frozen"]


def test_a_target_has_its_files_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('schema = "mmedge.target/1"\nname = "other"\nsummary = ""\nbackends = ["ort"]\nmax_opset = 18\nmax_ir = 10\n')
    with pytest.raises(MmedgeError, match="names its target 'other'"):
        Target.load(str(path))


@pytest.mark.parametrize(("load", "what", "near"), [(Target.load, "intel_cpu", "intel-cpu"), (Recipe.load, "tpy", "toy"), (load_family, "speach", "speech")])
def test_an_unknown_name_is_answered_with_the_nearest(load, what, near):
    with pytest.raises(MmedgeError) as caught:
        load(what)
    assert near in caught.value.fix
