"""What two reports ran differently, in a few words."""

from __future__ import annotations

from mmedge.profile.machine import Machine
from mmedge.profile.report import Identity, Report

MOMENTARY = {"load"}
"""Facts of a machine that say nothing about which one it is, or how it is set up."""
MEMORY_TOLERANCE = 0.05
"""A new kernel keeps a little more or less memory for itself."""
FEW = 3


def changes(before: Report, after: Report, name: str = "") -> tuple[str, ...]:
    """What differs behind a figure, each as ``this instead of that``.

    Args:
        name: of the row: a graph, or a verb (then all graphs of its model count); otherwise all graphs do.
    """
    ours, theirs = _identities(after), _identities(before)
    common = [key for key in ours if key in theirs]
    role = name.partition(".")[0] + "/"
    graphs = [key for key in common if key == name] or [key for key in common if key.startswith(role)] or common
    found = list(dict.fromkeys(change for graph in graphs for change in _identity(theirs[graph], ours[graph])))
    if len(found) > FEW and len(graphs) > 1:  # of a whole turn, say
        found = [*found[:FEW], f"{len(found) - FEW} more"]
    return tuple(["another machine"] * (not same_machine(before.machine, after.machine)) + found)


def same_machine(one: Machine, other: Machine) -> bool:
    """Whether both are the same kind of machine with the same resources; which of several equal ones nobody wrote down."""
    least, most = sorted((one.memory_mb or 0, other.memory_mb or 0))
    return (one.board, one.cpu, one.cores) == (other.board, other.cpu, other.cores) and least >= most * (1 - MEMORY_TOLERANCE)


def setup_changes(before: Report, after: Report) -> list[str]:
    """What is different about the same kind of machine: kernel, governor, versions of packages, as far as the reports tell."""
    theirs, ours = (_flat(report.machine) for report in (before, after))
    found = [f"{key} {ours[key]} instead of {theirs[key]}" for key in ours if key in theirs and ours[key] != theirs[key]]
    for setting in ("governor", "power_mode"):
        was, now = (getattr(report.conditions, setting, None) for report in (before, after))
        if was != now and None not in (was, now):
            found.append(f"{setting.replace('_', ' ')} {now} instead of {was}")
    return list(dict.fromkeys(found))


def _flat(machine: Machine) -> dict[str, object]:
    facts: dict[str, object] = {}
    for key, value in machine.model_dump(exclude=MOMENTARY | {"memory_mb"}, exclude_none=True).items():
        facts |= value if isinstance(value, dict) else {key: value}
    return {key.replace("_", " "): value for key, value in facts.items()}


def _identities(report: Report) -> dict[str, Identity]:
    return {row.name: row.identity for row in report.rows if row.identity}


def _identity(before: Identity, after: Identity) -> list[str]:
    pairs = {
        "": (f"{before.backend} {before.version}", f"{after.backend} {after.version}"),
        "precision": (before.executed.get("precision", before.precision), after.executed.get("precision", after.precision)),
        **{key: (before.executed[key], value) for key, value in after.executed.items() if key in before.executed},
    }
    found = [f"{key} {now} instead of {was}".lstrip() for key, (was, now) in pairs.items() if was != now]
    if before.graph != after.graph:
        found.append(f"graph {after.graph[:8]} instead of {before.graph[:8]}")
    if before.weights != after.weights:
        found.append("other weights")
    if before.shapes != after.shapes:
        found.append("other input shapes")
    return found
