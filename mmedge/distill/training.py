"""The loop: steps of AdamW on one process or on many, stopped and resumed without a trace, over as soon as a loss is no number.

Several processes, on one machine or on many: ``accelerate launch -m mmedge distill ...``; on CPUs, where that starts only one, ``torchrun --nproc-per-node N -m
mmedge distill ...``. Every process computes its part of a batch, and all losses are of the whole batch, whose outputs are gathered with their gradients: so the
processes together do what one alone would do.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmedge.distill import state as states
from mmedge.distill.record import Looked, State, Told
from mmedge.errors import MmedgeError
from mmedge.need import have, need

Report = Callable[[str], None]
Chosen = NDArray[np.int64]
"""Numbers of samples."""
EVERY_S = 10.0
"""Between two lines of progress."""
NORM = 1.0
"""Gradients are scaled down to this length."""
SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""Of accelerate's ways to use several processes, those in which none holds all weights."""
NAMED = 5
"""Samples of a batch that a message names."""


class Work(Protocol):
    """What is trained, on which samples."""

    @property
    def module(self) -> nn.Module:
        """Its ``forward`` takes the inputs by name and gives tensors [rows, ...], or [] of what belongs to no row, by name."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """What the samples are called."""
        ...

    def inputs(self, chosen: Chosen, step: int) -> dict[str, Tensor]:
        """Of these samples, the same each time."""
        ...

    def losses(self, outputs: Mapping[str, Tensor], chosen: Chosen, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a whole batch from its outputs, and its terms by name, detached."""
        ...

    def validate(self) -> float | None:
        """How good it is on validation, more is better; None: there is nothing to validate on."""
        ...


@dataclass(frozen=True)
class Plan:
    """How long, how fast, and what for."""

    key: str
    """Hash of everything that the losses depend on."""
    steps: int
    batch: int
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: float = 0.1
    seed: int = 0
    evaluations: int = 10
    early_stop: int = 0


def processes(precision: str) -> Any:
    """accelerate's ``Accelerator``: one a program. Raises MmedgeError: this machine cannot compute like that."""
    accelerate = need("accelerate", extra="distill")
    unused = accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)  # an objective may leave out the temperature
    made = accelerate.Accelerator(mixed_precision="no" if precision == "fp32" else precision, kwargs_handlers=[unused])
    if made.distributed_type in SHARDED:
        raise MmedgeError(
            f"{made.distributed_type.value} cuts weights up among processes, and what is kept would be of one of them",
            "let each process have them all: accelerate launch --multi_gpu",
        )
    if precision == "fp16" and made.device.type == "cpu":
        raise MmedgeError("a CPU does not train in fp16", 'set precision = "bf16" or "fp32" in [models.ROLE.train]')
    return made


def train(work: Work, plan: Plan, folder: Path, accelerator: Any, report: Report) -> State:
    """Train ``work.module`` in place, from where ``folder`` says it stands. In the end it has the weights of the best validation, or of the last step.

    Raises:
        MmedgeError: a loss or a gradient is not finite, with the samples' names; the batch does not divide; the disk is full. What was kept stays.
    """
    if plan.batch % (plan.accumulate * accelerator.num_processes):
        raise MmedgeError(
            f"a batch of {plan.batch} has no {plan.accumulate * accelerator.num_processes} equal parts for {accelerator.num_processes} processes",
            "choose another batch, or another accumulate",
        )
    found = states.find(folder, plan.key) if accelerator.is_main_process else None
    accelerator.wait_for_everyone()
    found = found if accelerator.is_main_process else states.find(folder, plan.key)
    if found is None or not found.stopped:
        found = _Loop(work, plan, folder, accelerator, report).run(found)
    states.load(folder, found.best if plan.early_stop and found.best is not None else found.step, work.module)
    work.module.eval()
    return found


class _Loop:
    def __init__(self, work: Work, plan: Plan, folder: Path, accelerator: Any, report: Report) -> None:
        self.work, self.plan, self.folder, self.accelerator = work, plan, folder, accelerator
        self.report: Report = report if accelerator.is_main_process else lambda line: None
        work.module.to(accelerator.device)
        self.plain = _optimizer(work.module, plan)
        self.module, self.optimizer = accelerator.prepare(work.module, self.plain)
        self.losses: list[Told] = []
        self.looked: list[Looked] = []
        self.begun = 0
        self.every = max(1, math.ceil(plan.steps / plan.evaluations))
        self.log: Any = None

    def run(self, found: State | None) -> State:
        if found is not None:
            states.load(self.folder, found.step, self.work.module, self.plain)
            self.losses, self.looked, self.begun = list(found.losses), list(found.looked), found.step
            if found.scaler and self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(found.scaler)
            self.report(f"goes on after step {self.begun} of {self.plan.steps}")
        self.log = self._writer()
        started_s = said_s = time.perf_counter()
        state = found
        for step in range(self.begun + 1, self.plan.steps + 1):
            self._step(step)
            now_s = time.perf_counter()
            if now_s - said_s >= EVERY_S:
                said_s = now_s
                self._say(step, now_s - started_s)
            if step % self.every == 0 or step == self.plan.steps:
                state = self._keep(step)
                if state.stopped:
                    break
        if self.log:
            self.log.close()
        self.accelerator.free_memory()
        assert state is not None
        return state

    def _step(self, step: int) -> None:
        for group in self.plain.param_groups:
            group["lr"] = self.plan.learning_rate * rate(step, self.plan.steps, self.plan.warmup)
        self.module.train()
        batch = batch_of(step, len(self.work.keys), self.plan.batch, self.plan.seed)
        sums: dict[str, float] = {}
        for part, chosen in enumerate(np.split(batch, self.plan.accumulate)):
            last = part == self.plan.accumulate - 1
            with self._together(last):
                loss, terms = self._forward(chosen, step, part)
                self._hold(loss, chosen, step)
                self.accelerator.backward(loss / self.plan.accumulate)
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / self.plan.accumulate
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), NORM)
        if self.accelerator.scaler is None:  # which leaves out such a step by itself
            self._hold(norm, batch, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        told = Told(step=step, loss=sums.pop("loss"), terms=sums)
        self.losses.append(told)
        if self.log:
            self.log.add_scalar("loss", told.loss, step)
            for name, term in sums.items():
                self.log.add_scalar(f"terms/{name}", term, step)

    def _forward(self, chosen: Chosen, step: int, part: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss over a part of the batch, which is shared among the processes."""
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = np.split(chosen, count)[rank]
        torch.manual_seed(int(np.random.SeedSequence([self.plan.seed, step, part, rank]).generate_state(1)[0]))
        inputs = {name: value.to(self.accelerator.device) for name, value in self.work.inputs(mine, step).items()}
        outputs: dict[str, Tensor] = self.module(**inputs)
        if count > 1:
            outputs = {name: _gathered(value) if value.dim() else value for name, value in outputs.items()}
        self.outputs = outputs
        return self.work.losses(outputs, chosen, step)

    def _together(self, last: bool) -> Any:
        """Gradients meet once a step, after its last part."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.module)

    def _hold(self, value: Tensor, chosen: Chosen, step: int) -> None:
        """Raises MmedgeError: it is not finite. The weights are still those of the step before."""
        if bool(torch.isfinite(value.detach()).all()):
            return
        good = [torch.isfinite(one).flatten(1).all(1).cpu().numpy() for one in self.outputs.values() if one.dim() > 1 and len(one) == len(chosen)]
        bad = chosen[~np.logical_and.reduce(good)] if good else chosen
        names = [self.work.keys[index] for index in (bad if len(bad) else chosen)]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        kept = states.steps(self.folder)
        last = f"what was good after step {kept[-1]} is kept" if kept else "nothing was kept yet"
        raise MmedgeError(
            f"the loss is no number at step {step}, with {', '.join(names[:NAMED])}{more}; {last}",
            "look at those samples, or lower learning_rate; then run it again",
        )

    def _keep(self, step: int) -> State:
        self.module.eval()
        with torch.inference_mode():
            value = self.work.validate()
        if value is not None:
            self.looked.append(Looked(step=step, value=value))
            if self.log:
                self.log.add_scalar("validation", value, step)
        state = State(key=self.plan.key, step=step, losses=tuple(self.losses), looked=tuple(self.looked))
        waited = sum(one.step > (state.best or 0) for one in self.looked)
        early = bool(self.plan.early_stop and value is not None and waited >= self.plan.early_stop)
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {}
        state = state.model_copy(update={"stopped": early or step == self.plan.steps, "scaler": scaler})
        if self.accelerator.is_main_process:
            states.save(self.folder, state, self.work.module, self.plain)
        self.accelerator.wait_for_everyone()
        if early:
            self.report(f"stopped after step {step}: validation was best after step {state.best}")
        return state

    def _say(self, step: int, seconds: float) -> None:
        pace = (step - self.begun) / seconds
        self.report(f"step {step} of {self.plan.steps}: loss {self.losses[-1].loss:.4f}, {pace:.1f} steps/s, {(self.plan.steps - step) / pace:.0f} s left")

    def _writer(self) -> Any:
        if not self.accelerator.is_main_process or not have("tensorboardX"):
            return None
        made = need("tensorboardX", extra="distill").SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.begun + 1)
        return made


def rate(step: int, steps: int, warmup: float) -> float:
    """The fraction of the full learning rate at a step from 1: up in a line, down as half a cosine."""
    up = warmup * steps
    if step <= up:
        return step / max(1.0, up)
    return 0.5 * (1 + math.cos(math.pi * (step - up) / max(1.0, steps - up + 1)))


def batch_of(step: int, count: int, batch: int, seed: int) -> Chosen:
    """The samples of a step from 1: all of them in a random order, then all of them in another."""
    stream = _stream(((step - 1) * batch) // count, count, seed)
    skipped = ((step - 1) * batch) % count
    found = next(stream)[skipped:]
    while len(found) < batch:
        found = np.concatenate([found, next(stream)])
    return found[:batch]


def _stream(epoch: int, count: int, seed: int) -> Iterator[Chosen]:
    while True:
        yield np.random.default_rng([seed, epoch]).permutation(count)
        epoch += 1


def _optimizer(module: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Biases, norms and temperatures do not decay."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [one for one in weights if one.dim() > 1]},
        {"params": [one for one in weights if one.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([one for one in groups if one["params"]], lr=plan.learning_rate, weight_decay=plan.weight_decay)


class _Gathered(torch.autograd.Function):
    """[rows, ...] of each process, in the order of their numbers -> those of all. What each process's loss says of a row comes back to the row's own."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        parts = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, value.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def _gathered(value: Tensor) -> Tensor:
    made: Tensor = _Gathered.apply(value)
    return made
