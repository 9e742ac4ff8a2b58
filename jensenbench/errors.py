"""Errors that a user can act on; the command line prints them as one line."""

import difflib
from collections.abc import Iterable

NEAR = 0.5  # share of letters that a suggestion has in common with what was typed


class UserError(ValueError):
    """Input that cannot be used: the message names the value and the remedy."""


class UnknownName(UserError):
    """A name that nothing answers to; the message offers the nearest known one, if there is one near."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        names = sorted(known)
        nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=NEAR)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        super().__init__(f"unknown {kind} {name!r}{hint} (known: {', '.join(names) or 'none'})")


class BudgetExceeded(RuntimeError):
    """A method asked for more network evaluations than its budget allows."""


class Diverged(RuntimeError):
    """A sampler's state became NaN or infinite; the message names the step and the noise level."""


class TrainingDiverged(UserError, Diverged):
    """An optimisation went wrong twice; the message names the step and what to change."""
