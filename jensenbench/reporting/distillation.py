"""Distillation in a tier's results: one-step students by the weight of the PDE loss, and their teacher."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jensenbench.plugins.registry import load_method
from jensenbench.reporting.results import Results
from jensenbench.reporting.summary import Candidate, Group, method_settings

STUDENT, SAMPLER, PLAIN = "piddm", "edm", "edm/heun"


@dataclass(frozen=True)
class Student:
    """A student that samples in one step, and the weight that its training gave to the equation.

    ``teacher`` is the sampler that made its pairs, if the tier runs it by itself.
    """

    candidate: Candidate
    teacher: Candidate | None
    weight: float
    balanced: bool

    @property
    def label(self) -> str:
        return f"{self.weight:g}" + ("\nbalanced" if self.balanced else "")


def students(results: Results, group: Group) -> list[Student]:
    """All one-step students of a group by their weight, balanced ones last."""
    found = []
    for candidate in group.candidates:
        if (candidate.method, candidate.status) == (STUDENT, "ok"):
            runs = results.runs[results.runs["run_id"].isin(candidate.run_ids)]
            settings = method_settings(runs)
            fit = settings["fit"]
            if not settings["steps"]:
                source = teacher(results, group, fit["pairs"])
                found.append(Student(candidate, source, fit["residual_weight"], fit["balance"] == "gradients"))
    return sorted(found, key=lambda student: (student.balanced, student.weight))


def teacher(results: Results, group: Group, pairs: Mapping[str, Any]) -> Candidate | None:
    """The sampler by which teacher pairs were made, Heun's method with as many steps on EDM levels; None for others."""
    if (pairs["schedule"], pairs["rule"]) != ("edm", "heun"):
        return None
    wanted = {**asdict(load_method(SAMPLER).variants["heun"]), "steps": pairs["steps"]}
    return next((c for c in group.candidates if c.method == SAMPLER and _ran_with(results, c, wanted)), None)


def _ran_with(results: Results, candidate: Candidate, settings: Mapping[str, Any]) -> bool:
    runs = results.runs[results.runs["run_id"].isin(candidate.run_ids)]
    return candidate.status == "ok" and method_settings(runs) == settings


def plain_sampler(group: Group) -> Candidate | None:
    """The deterministic sampler of the prior, with the tier's settings."""
    return next((c for c in group.candidates if (c.name, c.status) == (PLAIN, "ok")), None)
