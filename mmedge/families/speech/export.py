"""Checkpoint -> graphs, by the kind of model it is."""

from __future__ import annotations

from pathlib import Path

from mmedge.errors import MmedgeError
from mmedge.families.speech import ARCHITECTURES, Options, takes
from mmedge.families.speech.ctc.export import export_ctc
from mmedge.families.speech.moonshine.export import export_moonshine
from mmedge.families.speech.whisper.export import export_whisper
from mmedge.family import Allow, Exported, Media
from mmedge.nets.checkpoint import architecture_in

MAKERS = {
    "WhisperForConditionalGeneration": (export_whisper, {"language", "windows_s"}),
    "MoonshineForConditionalGeneration": (export_moonshine, {"tokens_per_s"}),
    "Wav2Vec2ForCTC": (export_ctc, set[str]()),
    "HubertForCTC": (export_ctc, set[str]()),
}
"""Architecture -> what lays it out, and the options that concern it."""


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """See the package for the graphs.

    Raises:
        MmedgeError: the folder holds none of these models, or it is incomplete or damaged; or an option is none of that model's.
    """
    architecture = "WhisperForConditionalGeneration" if takes(folder) else architecture_in(folder, ARCHITECTURES, "is no model that transcribes")
    make, known = MAKERS[architecture]
    if foreign := sorted(options.model_fields_set - known):
        fix = f"it has: {', '.join(sorted(known))}" if known else "leave the options out"
        raise MmedgeError(f"the option {foreign[0]} does not concern {architecture}", fix)
    return make(architecture, folder, options, media, allow)
