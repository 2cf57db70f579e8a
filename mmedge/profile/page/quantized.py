"""What quantizing found for a model, as the templates read it: each graph's candidates, drawn and in the order of their table."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from mmedge.manifest import Quantized
from mmedge.profile.page.figures import SMALL, WIDE
from mmedge.profile.page.numbers import metric, ms
from mmedge.profile.page.pareto import pareto
from mmedge.profile.rows import few
from mmedge.rated import Budget, Choice, Rated


class GraphView:
    """A graph's candidates. Where none could be timed, none is chosen yet: that is for the machine that it will run on.

    Args:
        name: ``eyes/image_encoder``.
    """

    def __init__(self, name: str, found: Quantized, choice: Choice) -> None:
        self.name, self.choice = name, choice
        self.rows = sorted(choice.rated, key=lambda one: (one.name != choice.chosen, not one.passed))
        self.timed = any(one.latency_ms is not None for one in self.rows)
        self.chosen = choice.chosen if self.timed else ""
        drawn = [pareto(found, self.rows, self.chosen, width) for width in (WIDE, SMALL)]
        self.figure: tuple[Markup, Markup] | None = (drawn[0], drawn[1]) if drawn[0] and drawn[1] else None

    def words(self, one: Rated) -> list[str]:
        """What it is, as badges."""
        told = {
            "chosen": one.name == self.chosen,
            "rejected": not one.passed,
            "undecided": one.passed and one.loss and one.loss.word == "undecided",
            "Pareto": one.passed and one.pareto,
            "not in the bundle": one.left_out,
        }
        return [word for word, true in told.items() if true]

    def said(self, one: Rated) -> list[str]:
        """What a user should know of it, in sentences."""
        kept = f"{len(one.kept_float)} in float: {few(one.kept_float)}" if one.kept_float else ""
        evaluated = f" ({one.evaluations} evaluations)" if kept and one.evaluations else ""
        return [text for text in (one.note, f"{kept}{evaluated}") if text]


class QuantizedView:
    """One model on one target."""

    def __init__(self, role: str, found: Quantized) -> None:
        self.role, self.found = role, found
        self.graphs = [GraphView(f"{role}/{name}", found, choice) for name, choice in found.graphs.items()]
        self.timed = any(graph.timed for graph in self.graphs)
        self.goal = ", ".join([f"for the least {found.goal}" if found.goal != "balanced" else "for latency and size alike", *_limits(found.budget)])


def views(quantized: Mapping[str, Quantized]) -> list[QuantizedView]:
    return [QuantizedView(role, found) for role, found in quantized.items()]


def _limits(budget: Budget) -> list[str]:
    limits = (
        (budget.max_latency_ms, f"at most {ms(budget.max_latency_ms)} ms a run of each graph"),
        (budget.min_metric, f"a metric of at least {metric(budget.min_metric)}"),
        (budget.max_mb, f"at most {ms(budget.max_mb)} MB in all"),
    )
    return [text for limit, text in limits if limit is not None]
