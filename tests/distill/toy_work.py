"""Something to train in milliseconds: a linear map that is to become another one. Also a program, to be killed and to be started twice.

python toy_work.py FOLDER STEPS [--kill STEP] [--accumulate N]: prints the losses as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmedge.distill.training import Plan, processes, train


class Line(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.line, self.dropout, self.scale = nn.Linear(4, 3), nn.Dropout(dropout), nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return {"y": self.line(self.dropout(x)), "scale": 1 * self.scale}


class Work:
    """The loss has a term that only a whole batch has: how alike its rows are, as a contrast has."""

    def __init__(self, count=24, dropout=0.0, kill=None, bad=None):
        random = np.random.default_rng(0)
        self.x = torch.from_numpy(random.normal(size=(count, 4)).astype(np.float32))
        self.y = self.x @ torch.from_numpy(random.normal(size=(4, 3)).astype(np.float32))
        self.module, self.keys, self._kill, self.validations = Line(dropout), [f"sample {number}" for number in range(count)], kill, []
        if bad is not None:
            self.x[bad] = float("nan")

    def inputs(self, chosen, step):
        if step == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": self.x[chosen]}

    def losses(self, outputs, chosen, step):
        near = (outputs["y"] - self.y[chosen]).square().mean()
        alike = torch.cdist(outputs["scale"] * outputs["y"], outputs["y"]).mean()
        return near + 0.01 * alike, {"near": near.detach(), "alike": alike.detach()}

    def validate(self):
        return self.validations.pop(0) if self.validations else None


def plan(**changed):
    return Plan(**{"key": "toy", "steps": 12, "batch": 8, "learning_rate": 0.1, "evaluations": 4, **changed})


if __name__ == "__main__":
    folder, steps, *others = sys.argv[1:]
    asked = dict(zip(others[::2], map(int, others[1::2])))
    accelerator = processes("fp32")
    work = Work(kill=asked.get("--kill"), dropout=asked.get("--dropout", 0) / 10)
    found = train(work, plan(steps=int(steps), accumulate=asked.get("--accumulate", 1)), Path(folder), accelerator, lambda line: None)
    if accelerator.is_main_process:
        print(json.dumps({"processes": accelerator.num_processes, "losses": [one.loss for one in found.losses], "weight": work.module.line.weight.tolist()}))
