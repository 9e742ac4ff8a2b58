"""Distillation in a tier's results: one-step students by the weight of the PDE loss, and their teacher."""

from dataclasses import dataclass

from jensenbench.reporting.results import Results
from jensenbench.reporting.summary import Candidate, Group, method_settings

STUDENT, TEACHER = "piddm", "edm/heun"


@dataclass(frozen=True)
class Student:
    """A student that samples in one step, and the weight that its training gave to the equation."""

    candidate: Candidate
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
            found += (
                [] if settings["steps"] else [Student(candidate, fit["residual_weight"], fit["balance"] == "gradients")]
            )
    return sorted(found, key=lambda student: (student.balanced, student.weight))


def teacher(group: Group) -> Candidate | None:
    """The deterministic sampler of the prior that the students were distilled from."""
    return next((c for c in group.candidates if (c.name, c.status) == (TEACHER, "ok")), None)
