"""What a plug-in's exception means: a status of the results schema and a reason."""

import traceback

import torch

from jensenbench.errors import BudgetExceeded, Diverged, UserError


def status_of(error: Exception) -> tuple[str, str]:
    """Status and reason of what a plug-in raised; a user's mistake is raised again.

    The traceback of a plug-in's own mistake goes to the log.
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
