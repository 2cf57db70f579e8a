"""Several targets of one bundle, each measured in a process of its own: no runtime shares threads, memory or caches with another."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mmedge import catalog
from mmedge.bundle import Bundle
from mmedge.documents import Failure, read_json
from mmedge.errors import DONE, GATE, USER, MmedgeError
from mmedge.profile.asked import words
from mmedge.profile.reading import AGAIN, read_report
from mmedge.profile.report import Profiles, Report, Rules
from mmedge.target import Target

ALL = "all"
GRACE_S = 10.0
"""For a process that was asked to end, before it is killed."""


def several(targets: Sequence[str]) -> bool:
    """Whether that is more than one target, or ``all`` of them."""
    return ALL in targets or len(set(targets)) > 1


def profile_each(path: Path, targets: Sequence[str], rules: Rules, progress: Callable[[str], None]) -> Profiles:
    """Measure each target that can run here, one after the other.

    Args:
        targets: names or TOML files; ``all``: every shipped target. Each once, however often it is named.

    Raises:
        MmedgeError: there is no bundle, an unknown target, or none of them could be measured.
    """
    bundle = Bundle.open(path)
    names = [name for what in targets for name in (catalog.names("targets") if what == ALL else [what])]
    asked = {Target.load(name).name: name for name in names}
    compiled = {target: name for target, name in asked.items() if target in bundle.manifest.engines}
    lacking = [target for target in asked if target not in compiled]
    if lacking and (ALL not in targets or not compiled):
        raise MmedgeError(f"{path} is not compiled for {', '.join(lacking)}", f"mmedge compile {path} --target {asked[lacking[0]]}")
    reports: list[Report] = []
    refused: dict[str, MmedgeError] = {}
    for target, name in compiled.items():
        try:
            reports.append(_in_a_process(path, target, name, rules, progress))
        except MmedgeError as error:
            refused[target] = error
            progress(f"{target}: {error.what}")
    not_run = [f"{target}: {error.what} ({error.fix})" for target, error in refused.items()]
    if lacking:
        not_run.append(f"not compiled for {', '.join(lacking)}")
    if ALL in targets:
        not_run += [
            f"{target}: not a target that mmedge ships; name its file: --target {target}.toml" for target in bundle.manifest.engines if target not in asked
        ]
    if not reports:
        first = next(iter(refused.values()))
        others = len(refused) - 1
        more = f", nor on {'another target' if others == 1 else f'{others} other targets'}" if others else ""
        raise MmedgeError(f"nothing could be measured: {first.what}{more}", first.fix)
    return Profiles(reports=tuple(reports), not_run=tuple(not_run))


def _in_a_process(path: Path, target: str, name: str, rules: Rules, progress: Callable[[str], None]) -> Report:
    command = [sys.executable, "-m", "mmedge", "profile", str(path), "--target", name, *words(rules), "--json"]
    with tempfile.TemporaryDirectory(prefix="mmedge-profile-") as folder:
        said = Path(folder) / "report.json"
        with said.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    if not line.startswith(("error: ", "fix: ")):  # said below, and once
                        progress(f"{target}: {line.rstrip()}")
                process.wait()
            except BaseException:
                _end(process)
                raise
        if process.returncode in (USER, GATE):
            failure = read_json(said, Failure, fix=AGAIN)
            raise MmedgeError(failure.error, failure.fix)
        if process.returncode != DONE:
            raise MmedgeError(f"the process that measured it ended with status {process.returncode}", f"see what it says alone: mmedge {' '.join(command[3:])}")
        return read_report(said)[0]


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to end as Ctrl-C would, so that it cleans up; then insist."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
