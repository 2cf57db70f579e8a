"""How a recipe's model is trained: on which splits, by which objectives. It never names a device."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mmedge.documents import Document

Kind = Literal[
    "cross_entropy",
    "matching",
    "contrastive",
    "sigmoid",
    "alignment",
    "joint",
    "features",
    "affinity",
    "relational",
    "interactive",
    "logits",
    "sequence",
    "hidden",
    "attention",
]
View = Literal["flip", "rotate", "crop", "background", "colour", "noise", "gain", "speed"]
"""Of pictures; ``noise``, ``gain`` and ``speed`` of sounds."""
Control = Literal["conse", "shuffled_captions", "teacher", "dropped_layers", "unadapted", "majority_class", "nearest_caption"]


class Objective(Document):
    """One term of the loss; ``mmedge.nets.objectives`` says what each computes, and whose paper it is from."""

    kind: Kind
    weight: float = Field(default=1.0, gt=0)
    """It is multiplied by this before the terms are added."""
    settings: dict[str, float | int | str | bool | tuple[int, ...]] = {}
    """Of this kind, such as ``temperature`` of logits."""


class DualEncoderNetwork(Document):
    """Pictures and texts in one space, and what their encoders begin with: ``mmedge.nets.multimodal_config.DualEncoderConfig`` comes of it."""

    kind: Literal["dual_encoder"]
    image: str = ""
    """Among the model's files: a ``.pth`` of EfficientNet-Lite, or a folder of transformers with its slash (``image/``)."""
    text: str = ""
    """A folder of transformers, with its slash."""
    classes: str = ""
    """The names of the picture encoder's classes, a JSON list among the model's files: for ``conse`` and ``pseudo_pairs``."""
    width: int = Field(default=256, gt=0)
    """Of the space in which modalities meet."""
    conse: float = Field(default=0.0, ge=0)
    """The weight of the ConSE score (Norouzi et al. 2013) beside the trained cosine."""


class FusionNetwork(Document):
    """Several modalities, any of which a sample may lack, become one answer: ``mmedge.nets.multimodal_config.FusionConfig`` comes of it."""

    kind: Literal["fusion"]
    image: str = ""
    """As of a dual encoder; empty: there is no such modality."""
    text: str = ""
    """A folder of transformers, with its slash."""
    audio: str = ""
    """A folder of Whisper's, with its slash; only its encoder is used."""
    audio_s: float = Field(default=5.0, gt=0, le=30)
    """What the audio encoder hears of a sound, in seconds: longer ones are cut, and its positions behind that are left out."""
    fusion: Literal["concat", "weighted_sum", "deep", "cross_attention"] = "concat"
    head: Literal["classify", "match"] = "classify"
    width: int = Field(default=128, gt=0)
    """Of every modality where they are joined."""
    layers: int = Field(default=2, gt=0)
    """Of ``deep`` and ``cross_attention``."""
    heads: int = Field(default=4, gt=0)
    """Of ``cross_attention``."""
    negatives: int = Field(default=4, gt=0)
    """Of ``match``: wrong texts that each picture is shown with in a step; every other one is of its group."""
    group: str = ""
    """Of ``match``: the column whose equal values make samples a group; empty: their files' folder does."""


class Lora(Document):
    """A low-rank change beside each of some layers, which stay as they are (Hu et al. 2021). Afterwards it is added to them."""

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0)
    """The change is multiplied by this over ``rank``."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    layers: tuple[str, ...] = ("q_proj", "v_proj")
    """Names in which layers' names end."""


class SpeechNetwork(Document):
    """A Whisper that is adapted to hear a shorter window. Its teacher is itself, before, with the window that it was made for."""

    kind: Literal["speech"]
    window_s: int = Field(default=5, gt=0, le=30)
    """What it hears of a sound, in seconds: its positions behind that are left out."""
    language: str = "en"
    """As Whisper's token names it."""
    labels: Literal["transcript", "teacher"] = "transcript"
    """The words that it learns to write: those of the data, or those that its teacher heard (Kim and Rush 2016)."""
    top_k: int = Field(default=32, gt=0)
    """Of the teacher's likeliest tokens at each place so many are kept."""
    lora: Lora = Lora()


Network = Annotated[DualEncoderNetwork | FusionNetwork | SpeechNetwork, Field(discriminator="kind")]


class Guard(Document):
    """Samples that are never trained on, and on which the trained model must be almost as good as its teacher; else it is refused."""

    split: str
    points: float = Field(default=3.0, ge=0)
    """So many hundredths of the judged metric may be lost."""


class Splits(Document):
    """Which samples are trained on, and which are asked about afterwards, by the names of the data's splits."""

    train: str = "train"
    """Several with a plus: ``train+extra``; empty: the folds alone."""
    validation: str = ""
    """What ``early_stop`` looks at; empty: one part in ten of the training samples, drawn by the seed."""
    test: str = ""
    """Empty where there are folds."""
    folds: tuple[str, ...] = ()
    """One of them is tested on, by ``--fold``; the others are trained on as well."""

    @model_validator(mode="after")
    def _has_a_test(self) -> Splits:
        if bool(self.test) == bool(self.folds):
            raise ValueError("name either a test split or folds")
        if not (self.train or self.folds):
            raise ValueError("name a split to train on")
        if len(self.folds) == 1:
            raise ValueError("one fold leaves nothing to train on: name at least two")
        return self


class Student(Document):
    """A smaller network that begins with the teacher's weights: evenly spaced layers, the most important channels. Or one of another form, with new weights."""

    depth: float = Field(default=1.0, gt=0, le=1)
    """The fraction of the teacher's layers that stay, spread evenly, the first and the last among them."""
    width: float = Field(default=1.0, gt=0, le=1)
    """The fraction of each layer's inside: feed-forward units, convolutions' channels, and heads where their size is stated apart."""
    residual: float = Field(default=1.0, gt=0, le=1)
    """The fraction of the stream between layers; where the size of a head follows from it, heads go along."""
    layers: tuple[int, ...] = ()
    """Instead of ``depth``: which of the teacher's layers stay, from 0."""
    vocabulary: Literal["whole", "pruned", "characters"] = "whole"
    """``pruned``: only the tokens that the data's texts use, those of all splits. ``characters``: every character of the texts that are trained on."""
    architecture: dict[str, Any] = {}
    """Instead of all fractions: a config of transformers, with ``model_type``, for new weights. Its vocabulary is of characters."""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Student:
        if bool(self.architecture) != (self.vocabulary == "characters"):
            raise ValueError('a vocabulary of characters is for an architecture of its own: give both, architecture and vocabulary = "characters", or neither')
        if self.architecture and (self.layers or (self.depth, self.width, self.residual) != (1, 1, 1)):
            raise ValueError("an architecture of its own inherits nothing: give no fractions and layers beside it")
        return self


ONLY = {
    "teacher": "dual_encoder",
    "student": "dual_encoder",
    "tune": "dual_encoder",
    "pseudo_pairs": "dual_encoder",
    "modality_dropout": "fusion",
    "guard": "speech",
}
"""Fields that one kind of network reads."""


class Training(Document):
    """``[models.ROLE.train]``: what ``mmedge distill`` does. Encoders stay as they are, and heads on them are trained, unless it says otherwise.

    Only ``splits`` and ``network`` have no default.
    """

    network: Network
    splits: Splits
    data: tuple[str, ...] = ("image", "text")
    """Columns that are needed."""
    columns: dict[str, str] = {}
    """Standard name -> the data's own column, as ``--column`` says it, which counts for more: ``{ label = "kind" }``."""
    teacher: str = ""
    """Another role of the recipe, whose model this one learns from."""
    student: dict[Literal["image", "text"], Student] = {}
    """Which of the teacher's encoders are made smaller, and how. They are trained as a whole; the others stay, with their heads, as they are."""
    tune: Literal["heads", "all"] = "heads"
    """``all``: where no student is named, encoders are trained with their heads."""
    objectives: tuple[Objective, ...] = (Objective(kind="contrastive"),)
    steps: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    """Instead of ``steps``; 30 where neither is given."""
    batch: int = Field(default=128, gt=0)
    """Samples of one step, over all processes."""
    accumulate: int = Field(default=1, gt=0)
    """Parts that a step's batch is computed in, one after another, to save memory; contrast is then within a part."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """The fraction of all steps in which the learning rate rises to its full height; then it falls as a cosine."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of what goes into the heads."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of a fusion: how often each modality of a sample is left out in a step; one of them always stays."""
    seed: int = 0
    views: int = Field(default=1, gt=0)
    """How many pictures are made of each: itself, and others by ``augment``, the same ones each time."""
    augment: tuple[View, ...] = ("flip", "rotate", "crop", "background", "colour")
    pseudo_pairs: float = Field(default=0.0, ge=0)
    """How often each class of the picture encoder's classifier is shown in an epoch: its row of the last layer as a picture, its name as the text."""
    early_stop: int = Field(default=0, ge=0)
    """Evaluations on validation without an improvement until it stops; 0: never."""
    evaluations: int = Field(default=10, gt=0)
    """How often checkpoints are kept, and validation is looked at, in the whole of the training."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """What products are computed in; weights stay fp32."""
    controls: tuple[Control, ...] = ()
    """What needs no training, to be printed beside the result."""
    guard: Guard | None = None
    """Of speech: what the training must not cost."""

    @model_validator(mode="after")
    def _has_what_its_kind_reads(self) -> Training:
        for name, kind in ONLY.items():
            if getattr(self, name) != type(self).model_fields[name].default and self.network.kind != kind:
                raise ValueError(f"{name} is for networks of the kind {kind}, and this one is of the kind {self.network.kind}")
        return self

    @model_validator(mode="after")
    def _lasts_one_time(self) -> Training:
        if self.student and not self.teacher:
            raise ValueError('a student is made of its teacher: name it, teacher = "ROLE"')
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs exclude each other")
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} has no {self.accumulate} equal parts: choose another accumulate")
        return self
