"""Run status and reason for an exception raised by a method or PDE."""

import traceback

import torch

from jensenbench.errors import BudgetExceeded, Diverged, UserError


def status_of(error: Exception) -> tuple[str, str]:
    """Status (one of the results schema) and reason of a run that raised ``error``.

    A UserError that is no divergence is a mistake of the user and is raised again. The traceback of a failure of the
    plug-in itself goes to the log.
    """
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if isinstance(error, UserError):
        raise error
    if isinstance(error, BudgetExceeded):
        return "over_budget", str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "out_of_memory", f"{error or 'memory'}; lower `batch`"
    traceback.print_exception(error)
    return "failed", f"{type(error).__name__}: {error}"
