"""MCMC convergence: rank-normalised split R-hat, bulk and tail effective sample sizes (`vehtari2021rank`)."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from jensenbench.errors import UserError

LEAST_DRAWS = 8  # of each chain
TAILS = (0.05, 0.95)


@dataclass(frozen=True)
class Convergence:
    """R-hat (F,) and effective sample sizes (F,) of functionals; a constant functional counts as converged."""

    rhat: Tensor
    bulk: Tensor
    tail: Tensor

    @property
    def ess(self) -> Tensor:
        """The smaller of the effective sample sizes of bulk and tails."""
        return torch.minimum(self.bulk, self.tail)


def diagnose(traces: Tensor) -> Convergence:
    """Convergence of the traces (chains, draws, F) of F functionals.

    R-hat is the larger of that of the rank-normalised draws and that of their distances from the median, chains cut in
    halves; the tail's effective sample size is the smaller of those of the indicators of the 5 % and 95 % quantiles.
    Raises UserError on traces that are too short, too few or not finite.
    """
    if traces.ndim != 3 or len(traces) < 2 or traces.shape[1] < LEAST_DRAWS:
        raise UserError(
            f"diagnostics need traces (chains >= 2, draws >= {LEAST_DRAWS}, functionals), got {tuple(traces.shape)}"
        )
    if not torch.isfinite(traces).all():
        raise UserError("diagnostics: a trace holds NaN or infinite values: its chain did not reach the posterior")
    halves = split(traces.double())
    distances = (halves - halves.flatten(0, 1).median(0).values).abs()
    bulk = rank_normalised(halves)
    rhat = torch.maximum(potential_scale(bulk), potential_scale(rank_normalised(distances)))
    quantiles = torch.from_numpy(np.quantile(halves.flatten(0, 1).numpy(), TAILS, axis=0))
    tail = torch.stack([effective_size((halves <= quantile).double()) for quantile in quantiles]).amin(0)
    return Convergence(rhat, effective_size(bulk), tail)


def split(traces: Tensor) -> Tensor:
    """Both halves of every chain as chains, (2 chains, draws // 2, F); the middle draw of an odd number is left out."""
    half = traces.shape[1] // 2
    return torch.cat([traces[:, :half], traces[:, -half:]])


def rank_normalised(chains: Tensor) -> Tensor:
    """Normal scores Φ⁻¹((r - 3/8)/(S + 1/4)) of ranks r among all S draws of each functional; ties get the mean."""
    from scipy.stats import rankdata  # takes a second to load, which the stages that only read results need not pay

    flat = chains.flatten(0, 1).numpy()
    ranks = np.asarray(rankdata(flat, axis=0))
    return torch.from_numpy(ndtri((ranks - 0.375) / (len(flat) + 0.25))).reshape(chains.shape)


def potential_scale(chains: Tensor) -> Tensor:
    """R-hat (F,), the root of pooled over within-chain variance (`gelman1992inference`); 1 for constants."""
    draws = chains.shape[1]
    within, between = chains.var(1).mean(0), chains.mean(1).var(0)
    ratio = (draws - 1) / draws + between / within
    spread = between > 0
    return torch.where(spread | (within > 0), ratio, 1.0).sqrt()


def effective_size(chains: Tensor) -> Tensor:
    """Effective number (F,) of independent draws for the mean of (chains, draws, F): Geyer's monotone sequence.

    The autocorrelations of all chains are pooled as `vehtari2021rank`, eq. 10; pairs of them are summed while they
    are positive, each no larger than the one before (`geyer1992practical`).
    """
    count, draws = chains.shape[0] * chains.shape[1], chains.shape[1]
    covariance = autocovariance(chains).mean(0)
    within = covariance[0] * draws / (draws - 1)
    pooled = covariance[0] + chains.mean(1).var(0)
    constant = pooled <= 0
    correlation = 1 - (within - covariance) / torch.where(constant, 1.0, pooled)
    correlation[0] = 1.0
    even = draws // 2 * 2
    pairs = correlation[:even].unflatten(0, (-1, 2)).sum(1)
    kept = (pairs > 0).long().cumprod(0)
    length = 2 * (pairs.cummin(0).values * kept).sum(0) - 1
    shortest = 1 / np.log10(count)
    return torch.where(constant, float(count), count / length.clamp(min=shortest))


def autocovariance(chains: Tensor) -> Tensor:
    """Covariances (chains, lags, F) of (chains, draws, F) at all lags, divided by the number of draws."""
    draws = chains.shape[1]
    spectrum = torch.fft.rfft(chains - chains.mean(1, keepdim=True), n=2 * draws, dim=1)
    return torch.fft.irfft(spectrum.abs().square(), n=2 * draws, dim=1)[:, :draws] / draws
