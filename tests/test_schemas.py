"""Every document that is printed or stored is published as a JSON Schema in mmedge/schemas/.

After a wanted change: MMEDGE_WRITE_SCHEMAS=1 pytest tests/test_schemas.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmedge.assistant.parts import Summary
from mmedge.deploy.bisect import Bisection
from mmedge.deploy.doctor import Diagnosis
from mmedge.deploy.plan import Plan
from mmedge.deploy.push import Release
from mmedge.distill.report import Distillation
from mmedge.documents import Failure
from mmedge.evaluate.evaluation import Evaluation
from mmedge.manifest import Manifest
from mmedge.optimize.quantized import Quantization
from mmedge.profile.compare import Comparison
from mmedge.profile.report import Profiles, Report
from mmedge.recipe import Recipe, Recipes
from mmedge.target import Target, Targets
from mmedge.turn import Turn

FOLDER = Path(__file__).parents[1] / "mmedge" / "schemas"
DOCUMENTS = [
    Bisection,
    Comparison,
    Diagnosis,
    Distillation,
    Evaluation,
    Failure,
    Manifest,
    Plan,
    Profiles,
    Quantization,
    Recipe,
    Recipes,
    Release,
    Report,
    Summary,
    Target,
    Targets,
    Turn,
]


def _path(document):
    return FOLDER / (document.model_fields["schema_"].default.replace("/", "-") + ".json")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.__name__)
def test_the_published_schema_is_the_documents_own(document):
    schema = json.dumps(document.model_json_schema(by_alias=True), indent=1) + "\n"
    if os.environ.get("MMEDGE_WRITE_SCHEMAS"):
        FOLDER.mkdir(exist_ok=True)
        _path(document).write_text(schema)
    assert _path(document).read_text() == schema


def test_nothing_else_is_published():
    assert sorted(FOLDER.iterdir()) == sorted(_path(document) for document in DOCUMENTS)
