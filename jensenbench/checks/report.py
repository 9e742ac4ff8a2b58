"""What a conformance check returns: named outcomes with the number behind each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One law and whether the subject obeys it; ``value`` is the number that decided, ``detail`` says against what."""

    name: str
    passed: bool
    value: float | None
    detail: str

    def __str__(self) -> str:
        number = "" if self.value is None else f" {self.value:.3g}"
        return f"{'pass' if self.passed else 'FAIL'} {self.name}:{number} {self.detail}".rstrip()


@dataclass(frozen=True)
class Report:
    """All checks of one subject (a method, a PDE or a prior).

    Attributes:
        labels: what the page says of the subject beside its name, by heading.
    """

    subject: str
    checks: tuple[Check, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def rows(self) -> list[dict[str, Any]]:
        """One plain dictionary a check, the subject in front."""
        return [{"subject": self.subject, **asdict(check)} for check in self.checks]

    def __str__(self) -> str:
        return "\n".join([self.subject, *(f"  {check}" for check in self.checks)])
