"""``--on user@board``: a command run by the far side's mmedge on the release that is live there; its document comes home."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmedge.bundle import MANIFEST, Bundle
from mmedge.deploy.program import Report
from mmedge.deploy.releases import folder_of, live, look, name_of
from mmedge.documents import M


def run_on(path: Path, where: str, arguments: Sequence[str], models: Sequence[type[M]], report: Report) -> M:
    """Run a command there.

    Args:
        path: the bundle, for its name; it need not be here where ``where`` says the folder.
        arguments: the command, then its options.
        models: the documents that it may answer with.

    Raises:
        MmedgeError: the board cannot be reached, nothing was pushed there, or its mmedge is of another version.
        Elsewhere: the command failed there, with its own exit status.
    """
    with folder_of(path, where).connected() as far:
        there = look(far)
        if "mmedge" in there.missing:
            raise far.without_mmedge()
        now = live(far, there)
        if (path / MANIFEST).is_file() and (here := name_of(Bundle.open(path).manifest)) != now:
            report(f"{far.host} runs release {now}; {path} would be {here}: mmedge push brings it there")
        command, *options = arguments
        document = far.mmedge(command, f"{far.path}/current", *options, report=report)
        kind = str(document.get("schema")).partition("/")[0]
        return far.read(document, next((one for one in models if str(one.model_fields["schema_"].default).startswith(f"{kind}/")), models[0]))
