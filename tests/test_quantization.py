"""The candidates that a target asks for."""

from __future__ import annotations

import importlib

import pytest

from mmedge import catalog
from mmedge.documents import validate
from mmedge.errors import MmedgeError
from mmedge.optimize.made import maker
from mmedge.quantization import MODULES, OPTIONS, Dynamic, Static, WeightOnly, name_of
from mmedge.target import Target

PLAIN = {"schema": "mmedge.target/1", "name": "t", "summary": "", "backends": ["ort", "openvino", "tensorrt"], "max_opset": 18, "max_ir": 10}


def asked(**tables):
    return validate({**PLAIN, "quantize": tables}, Target, "t.toml").quantize


def test_every_method_has_a_maker():
    for module in MODULES.values():
        assert callable(importlib.import_module(f"mmedge.optimize.{module}").make)
    assert {method for _, method in MODULES} == set(OPTIONS)


def test_a_backend_without_the_method_has_no_maker():
    with pytest.raises(MmedgeError, match="nothing makes graphs by the method dynamic for null"):
        maker("null", Dynamic())


def test_names_tell_candidates_apart():
    for name in catalog.names("targets"):
        for candidates in Target.load(name).quantize.values():
            assert len({name_of(one) for one in candidates}) == len(candidates)


def test_a_name_says_what_is_not_as_usual():
    asked = [Dynamic(), Static(), Static(ranges="percentile"), Static(ranges="percentile", percentile=99.9), Static(smooth=0.5), WeightOnly(block_size=64)]
    assert list(map(name_of, asked)) == [
        "dynamic",
        "static-minmax",
        "static-percentile",
        "static-percentile-99.9",
        "static-minmax-smooth-0.5",
        "weight-only-4-blocks-64",
    ]


def test_options_have_defaults_and_are_read():
    found = asked(ort=[{"method": "static", "ranges": "entropy"}, {"method": "weight-only", "bits": 8}])
    assert found == {"ort": (Static(ranges="entropy"), WeightOnly(bits=8))}
    assert asked(tensorrt=[{"method": "weight-only", "bits": 8}]) == {"tensorrt": (WeightOnly(bits=8),)}, "blocks are of 4 bits alone"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"ort": [{"method": "dynamik"}]}, "ort has no method 'dynamik': did you mean dynamic?"),
        ({"openvino": [{"method": "dynamic"}]}, "openvino has no method 'dynamic': did you mean static?"),
        ({"openvno": [{"method": "static"}]}, "nothing quantizes for 'openvno': did you mean openvino?"),
        ({"ort": [{"method": "static", "rangs": "minmax"}]}, "ort: static has no option 'rangs': did you mean ranges?"),
        ({"ort": [{"ranges": "minmax"}]}, "a candidate for ort names no method: there is dynamic, static, weight-only"),
        ({"ort": [{"method": "static", "smooth": 0.5}]}, "smooth is an option of openvino's, not of ort's"),
        ({"openvino": [{"method": "static", "ranges": "entropy"}]}, "openvino has no ranges by entropy: there is minmax, percentile"),
        ({"ort": [{"method": "weight-only", "bits": 3}]}, "quantize.ort.0.weight-only.bits: Input should be 4 or 8"),
        ({"tensorrt": [{"method": "weight-only"}]}, "tensorrt has weights of 4 bits in blocks of 64 or 128, not of 32: set block_size"),
        ({"tensorrt": [{"method": "weight-only", "bits": 4, "block_size": 16}]}, "in blocks of 64 or 128, not of 16: set block_size"),
    ],
)
def test_what_is_no_candidate_is_refused_with_what_is_nearest(tables, said):
    with pytest.raises(MmedgeError) as refused:
        asked(**tables)
    assert refused.value.what.endswith(said)


def test_a_backend_that_the_target_does_not_run_on_is_refused():
    with pytest.raises(MmedgeError, match="the target does not run on tensorrt: its backends are ort"):
        validate({**PLAIN, "backends": ["ort"], "quantize": {"tensorrt": [{"method": "static"}]}}, Target, "t.toml")


def test_they_are_listed(mmedge):
    status, said, _ = mmedge("targets")
    assert status == 0
    assert "openvino static-minmax, weight-only-8, weight-only-4" in said
