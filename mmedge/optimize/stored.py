"""What quantizing found, put into the bundle's draft: variants with what they give on golden feeds, placements, the gate, and all figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmedge.backends.tensorrt import store
from mmedge.evaluate.drift import drift
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.recorded import OUT, pack_outputs, record
from mmedge.fallback import placement
from mmedge.manifest import Gate, Manifest, Placement, Quantized, Variant
from mmedge.optimize.made import keep
from mmedge.optimize.opening import identity, opened
from mmedge.optimize.steps import step, versions
from mmedge.optimize.survivors import Sifted, Survivor
from mmedge.optimize.whole import Whole
from mmedge.optimize.work import Work
from mmedge.rated import Choice, Rated
from mmedge.runner import load_backend
from mmedge.tensors import Feeds


def keep_all(work: Work, found: Quantized, whole: Whole, sifted: Mapping[str, Sifted], *, slim: bool) -> Quantized:
    """Add files to the bundle and everything to its draft; nothing is committed.

    Args:
        slim: of the variants, those alone that were chosen.

    Returns:
        ``found`` as the draft holds it.

    Raises:
        MmedgeError: the disk refuses, or the model cannot be opened as it was chosen.
    """
    bundle, target, role = work.bundle, work.target, work.role
    graphs = dict(found.graphs)
    model = bundle.manifest.models[role]
    entries = dict(model.graphs)
    placements = dict(bundle.manifest.engines[target.name])
    golden = Golden(bundle, role)
    for key, one in sifted.items():
        graphs[key] = _slimmed(graphs[key]) if slim else graphs[key]
        made = {each.rated.name: each for each in one.survivors}
        wanted = {rated.name for rated in graphs[key].rated if rated.passed and rated.made_of and not rated.left_out}
        new = tuple(_variant(work, key, each, golden) for name, each in made.items() if name in wanted and each.made)
        entries[key] = entries[key].model_copy(update={"variants": _merged(entries[key].variants, new)})
        chosen = graphs[key].of(graphs[key].chosen)
        if chosen.latency_ms is not None:
            placements[f"{role}/{key}"] = _placed(work, chosen, made[chosen.name], graphs[key].why)
    found = found.model_copy(update={"graphs": graphs})
    models = {**bundle.manifest.models, role: model.model_copy(update={"graphs": entries})}
    engines = {**bundle.manifest.engines, target.name: placements}
    bundle.manifest = bundle.manifest.model_copy(update={"models": models, "engines": engines, "gates": _gates(work, whole)})
    if all(choice.of(choice.chosen).latency_ms is not None for choice in graphs.values()):
        content, cases = record(bundle, role, target)
        found = found.model_copy(update={"golden": bundle.add(role, f"golden-{target.name}.npz", content), "cases": cases})
    roles = {**bundle.manifest.quantized.get(target.name, {}), role: found}
    bundle.manifest = _pruned(bundle.manifest.model_copy(update={"quantized": {**bundle.manifest.quantized, target.name: roles}}), role)
    return found


def _slimmed(choice: Choice) -> Choice:
    rated = [one.model_copy(update={"left_out": True}) if one.passed and one.made_of and one.name != choice.chosen else one for one in choice.rated]
    return choice.model_copy(update={"rated": tuple(rated)})


def _variant(work: Work, key: str, one: Survivor, golden: Golden) -> Variant:
    """A made graph, stored with what it gives."""
    assert one.made is not None
    feeds, reference = golden.graph(key)
    outputs = _outputs(work, key, one, feeds)
    distance, _ = drift(outputs, reference, one.rated.precision)
    stored = keep(work.bundle, work.role, key, one.made, one.backend, distance)
    name = f"{stored.file.path.rpartition('/')[2].partition('.')[0]}-golden.npz"
    return stored.model_copy(update={"outputs": work.bundle.add(work.role, name, pack_outputs(outputs))})


def _outputs(work: Work, key: str, one: Survivor, feeds: Feeds) -> Feeds:
    """What a candidate gives on the golden feeds of its graph, on this machine."""

    def fill(folder: Path) -> None:
        with opened(one.backend, one.candidate, work.target) as runner:
            (folder / "outputs.npz").write_bytes(pack_outputs(runner.run(feeds)))

    golden = [work.bundle.manifest.models[work.role].golden.sha256, key]
    depends = {**versions(), "candidate": identity(one.backend, one.candidate, work.target), "golden": golden}
    with step("outputs", depends, fill) as folder, np.load(folder / "outputs.npz", allow_pickle=False) as stored:
        return {name.removeprefix(OUT): array for name, array in stored.items()}


def _merged(old: tuple[Variant, ...], new: tuple[Variant, ...]) -> tuple[Variant, ...]:
    hashes = {one.file.sha256 for one in new}
    return (*(one for one in old if one.file.sha256 not in hashes), *new)


def _placed(work: Work, rated: Rated, one: Survivor, why: str) -> Placement:
    placed = placement(rated, why, work.target)
    if rated.backend != "tensorrt":
        return placed
    with work.bundle.scratch() as scratch:
        engine = load_backend("tensorrt").compile(one.candidate, work.target, scratch)
        file = work.bundle.add(work.role, engine.path.name, engine.path) if engine.path else None
    return placed.model_copy(update={"file": file, "key": store.key(one.candidate, work.target)})


def _gates(work: Work, whole: Whole) -> dict[str, tuple[Gate, ...]]:
    """With this one's in its place; a check was another choice's."""
    loss, target = whole.judged.loss, work.target.name
    gate = Gate(name=f"quantize {work.role}", passed=whole.judged.passed, value=round(loss.value, 6), bound=whole.judged.allowed, note=str(whole.judged))
    kept = {name: gates for name, gates in work.bundle.manifest.gates.items() if name != f"check {target}"}
    others = tuple(one for one in kept.get(f"quantize {target}", ()) if one.name != gate.name)
    return {**kept, f"quantize {target}": (*others, gate)}


def _pruned(manifest: Manifest, role: str) -> Manifest:
    """Without variants that an earlier quantization made and no target has any use for. Those of no backend are not quantizing's."""
    found = [roles[role] for roles in manifest.quantized.values() if role in roles]
    used = {rated.made_of for one in found for choice in one.graphs.values() for rated in choice.rated if not rated.left_out}
    used |= {placed.made_of for placements in manifest.engines.values() for placed in placements.values()}
    model = manifest.models[role]
    graphs = {
        key: entry.model_copy(update={"variants": tuple(one for one in entry.variants if not one.backend or one.file.sha256 in used)})
        for key, entry in model.graphs.items()
    }
    return manifest.model_copy(update={"models": {**manifest.models, role: model.model_copy(update={"graphs": graphs})}})
