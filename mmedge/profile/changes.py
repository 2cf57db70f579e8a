"""What two reports ran differently, in a few words."""

from __future__ import annotations

from mmedge.profile.machine import Machine
from mmedge.profile.report import Identity, Report

MOMENTARY = {"load", "memory_mb", "system"}
"""Facts of a machine that say nothing about how it is set up, or say what others say."""
MEMORY_TOLERANCE = 0.05
"""A new kernel keeps a little more or less memory for itself."""
FEW = 4
LONG = 60


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
    if len(found) > FEW:  # of a whole turn, say
        found = [*found[:FEW], f"{len(found) - FEW} more"]
    return tuple(["another machine"] * (not same_machine(before.machine, after.machine)) + found)


def same_machine(one: Machine, other: Machine) -> bool:
    """Whether both are the same kind of machine with the same resources; which of several equal ones nobody wrote down."""
    least, most = sorted((one.memory_mb or 0, other.memory_mb or 0))
    return (one.board, one.cpu, one.cores) == (other.board, other.cpu, other.cores) and least >= most * (1 - MEMORY_TOLERANCE)


def setup_changes(before: Report, after: Report) -> list[str]:
    """What is different about the same kind of machine: kernel, governor, versions of packages, as far as the reports tell."""
    theirs, ours = (_flat(report.machine) for report in (before, after))
    different = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    return [_instead(key, theirs[key], ours[key]) for key in different]


def _flat(machine: Machine) -> dict[str, str]:
    """What the system told, packages by their names."""
    facts = machine.model_dump(exclude=MOMENTARY)
    packages = facts.pop("packages")
    return {key.replace("_", " "): str(value) for key, value in {**facts, **packages}.items() if value not in (None, ())}


def _identities(report: Report) -> dict[str, Identity]:
    return {row.name: row.identity for row in report.rows if row.identity}


def _identity(before: Identity, after: Identity) -> list[str]:
    words = {"precision"} | (
        set(before.executed) & set(after.executed) if before.backend == after.backend else set()
    )  # another runtime's words mean other things
    pairs = {key: (before.executed.get(key, before.precision), after.executed.get(key, after.precision)) for key in sorted(words, key="precision".__ne__)}
    pairs = {"": (f"{before.backend} {before.version}", f"{after.backend} {after.version}"), **pairs}
    found = [_instead(key, *pair) for key, pair in pairs.items() if pair[0] != pair[1]]
    if before.graph != after.graph:
        found.append(f"graph {after.graph[:8]} instead of {before.graph[:8]}")
    if before.weights != after.weights:
        found.append("other weights")
    if before.shapes != after.shapes:
        found.append("other input shapes")
    return found


def _instead(key: str, was: str, now: str) -> str:
    return f"other {key or 'runtime'}" if len(was + now) > LONG else f"{key} {now} instead of {was}".lstrip()
