"""The loop: resumed, stopped, shared among processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.full

from distill.toy_work import Work, plan  # noqa: E402

from mmedge.distill import state as states  # noqa: E402
from mmedge.distill.training import batch_of, processes, rate, train  # noqa: E402
from mmedge.errors import MmedgeError  # noqa: E402

TOY = Path(__file__).parent / "toy_work.py"


def quiet(line):
    pass


@pytest.fixture(scope="module")
def one_process():
    return processes("fp32")


def losses(folder, work, accelerator, report=quiet, **changed):
    return [one.loss for one in train(work, plan(**changed), folder, accelerator, report).losses]


def test_it_is_adamw_with_this_rate(tmp_path, one_process):
    """Against torch's own AdamW in a loop written down here."""
    import torch

    work, reference = Work(), Work()
    found = losses(tmp_path, work, one_process, warmup=0.25, weight_decay=0.1)
    weights = list(reference.module.parameters())
    decayed = [one for one in weights if one.dim() > 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": [one for one in weights if one.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    wanted = []
    for step in range(1, 13):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * rate(step, 12, 0.25)
        chosen = batch_of(step, 24, 8, 0)
        loss, _ = reference.losses(reference.module(reference.x[chosen]), chosen, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wanted.append(float(loss.detach()))
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found[-1] < found[0] / 2


def test_every_epoch_has_every_sample_once_in_an_order_of_its_own():
    epochs = [np.concatenate([batch_of(step, 10, 4, 7) for step in range(first, first + 5)]) for first in (1, 6)]
    for epoch in epochs:
        assert sorted(epoch[:10]) == sorted(epoch[10:]) == [*range(10)]
    assert not np.array_equal(epochs[0][:10], epochs[0][10:])
    assert len(batch_of(1, 3, 8, 0)) == 8


def test_the_rate_rises_and_falls():
    rates = [rate(step, 100, 0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_resumed_in_one_process_or_never_interrupted_the_losses_are_the_same(tmp_path, one_process):
    """With dropout: what is random follows from the step."""

    class Interrupted(Work):
        def inputs(self, chosen, step):
            if step == 8:
                raise KeyboardInterrupt
            return super().inputs(chosen, step)

    whole = losses(tmp_path / "whole", Work(dropout=0.3), one_process)
    with pytest.raises(KeyboardInterrupt):
        losses(tmp_path / "parts", Interrupted(dropout=0.3), one_process)
    assert states.steps(tmp_path / "parts") == [3, 6]
    said = []
    assert losses(tmp_path / "parts", Work(dropout=0.3), one_process, said.append) == whole
    assert "goes on after step 6 of 12" in said
    assert losses(tmp_path / "parts", Interrupted(dropout=0.3), one_process) == whole  # it is over: nothing is computed


@pytest.mark.parametrize("file", [states.MODEL, states.OPTIMIZER, states.STATE])
def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path, one_process, file):
    whole = losses(tmp_path, Work(), one_process)
    assert states.steps(tmp_path) == [9, 12]
    path = tmp_path / "step-000012" / file
    path.write_bytes(path.read_bytes()[:-3])
    assert states.find(tmp_path, "toy").step == 9
    assert losses(tmp_path, Work(), one_process) == whole


def test_another_training_begins_anew(tmp_path, one_process):
    losses(tmp_path, Work(), one_process)
    assert len(losses(tmp_path, Work(), one_process, key="other", steps=4)) == 4
    assert states.steps(tmp_path) == [3, 4]


def run(folder, *arguments, launch=()):
    command = [sys.executable, *launch, str(TOY), str(folder), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"})


def test_killed_and_started_again(tmp_path, one_process):
    whole = losses(tmp_path / "whole", Work(dropout=0.3), one_process)
    killed = run(tmp_path / "killed", 12, "--dropout", 3, "--kill", 8)
    assert killed.returncode == -9
    assert states.steps(tmp_path / "killed") == [3, 6]
    assert losses(tmp_path / "killed", Work(dropout=0.3), one_process) == pytest.approx(whole, rel=1e-6)


def test_two_processes_do_what_one_does(tmp_path, one_process):
    work = Work()
    alone = losses(tmp_path / "one", work, one_process)
    done = run(tmp_path / "two", 12, launch=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])
    assert done.returncode == 0, done.stderr
    both = json.loads(done.stdout)
    assert both["processes"] == 2
    assert both["losses"] == pytest.approx(alone, rel=1e-5)
    np.testing.assert_allclose(both["weight"], work.module.line.weight.detach().numpy(), rtol=1e-4)


def test_parts_of_a_batch_add_up(tmp_path, one_process):
    """Of a loss that is a mean over samples; a contrast is within a part."""

    class Mean(Work):
        def losses(self, outputs, chosen, step):
            near = (outputs["y"] - self.y[chosen]).square().mean()
            return near, {"near": near.detach()}

    assert losses(tmp_path / "parts", Mean(), one_process, accumulate=4) == pytest.approx(losses(tmp_path / "one", Mean(), one_process), rel=1e-5)


def test_what_is_no_number_stops_and_is_named(tmp_path, one_process):
    bad = int(batch_of(6, 24, 8, 0)[2])
    order = [step for step in range(1, 13) if bad in batch_of(step, 24, 8, 0)]
    with pytest.raises(MmedgeError) as caught:
        losses(tmp_path, Work(bad=bad), one_process, evaluations=12)
    assert f"no number at step {order[0]}, with sample {bad};" in caught.value.what
    assert states.steps(tmp_path)[-1:] == ([order[0] - 1] if order[0] > 1 else [])


def test_early_stopping_keeps_the_best(tmp_path, one_process):
    work, other = Work(), Work()
    work.validations = [0.1, 0.5, 0.4, 0.3, 0.9]
    said = []
    assert len(losses(tmp_path / "a", work, one_process, said.append, early_stop=2, evaluations=12)) == 4
    assert said[-1] == "stopped after step 4: validation was best after step 2"
    losses(tmp_path / "b", other, one_process, steps=2, key="b", evaluations=12)
    assert states.find(tmp_path / "a", "toy").best == 2
    assert states.steps(tmp_path / "a") == [2, 3, 4]


def test_the_log_is_read_by_others(tmp_path, one_process):
    from tensorboardX.proto.event_pb2 import Event

    found = losses(tmp_path, Work(), one_process)
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, at, told = path.read_bytes(), 0, []
    while at < len(content):  # TFRecord: length, its checksum, the record, its checksum
        size = int.from_bytes(content[at : at + 8], "little")
        event = Event.FromString(content[at + 12 : at + 12 + size])
        told += [value.simple_value for value in event.summary.value if value.tag == "loss"]
        at += 16 + size
    assert told == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize(("changed", "what"), [({"batch": 7, "accumulate": 2}, "a batch of 7 has no 2 equal parts")])
def test_what_cannot_be_divided(tmp_path, one_process, changed, what):
    with pytest.raises(MmedgeError, match=what):
        losses(tmp_path, Work(), one_process, **changed)


def test_a_cpu_does_not_train_in_fp16():
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    try:
        with pytest.raises(MmedgeError, match="a CPU does not train in fp16"):
            processes("fp16")
    finally:
        AcceleratorState._reset_state()


def test_weights_that_are_cut_up_are_refused(monkeypatch):
    """Of CPUs accelerate makes whole copies, whatever it is told: this is what it says of accelerators."""
    import accelerate

    monkeypatch.setattr(accelerate.Accelerator, "distributed_type", accelerate.DistributedType.FSDP)
    with pytest.raises(MmedgeError, match="FSDP cuts weights up among processes"):
        processes("fp32")
