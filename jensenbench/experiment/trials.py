"""Trials of a cell: the settings that tuning tries."""

from dataclasses import replace

from jensenbench.core.settings import configure
from jensenbench.evaluation.tuning import proposals, trial_name, tuned_ranges
from jensenbench.experiment.config import Cell, Tier
from jensenbench.plugins.registry import load_method

SPLIT = "validation"


def trials(tier: Tier, cell: Cell) -> list[Cell]:
    """The cell with the settings of each trial, named ``tune-07-variant``."""
    method = load_method(cell.method)
    free = bool(tuned_ranges(method, cell.variant))
    preset = tier.untuned(cell) if free else cell.config
    plain = replace(cell, tuned_trials=0, by_task={} if free else cell.by_task)
    return [
        replace(
            plain,
            variant=trial_name(number, cell.variant),
            config=configure(f"{cell.method} setting", preset, changes),
        )
        for number, changes in enumerate(proposals(method, cell.variant, tier.tuning.trials))
    ]
