"""Laws that every prior obeys: limits, calibration, orthogonality of its error, and good manners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.checks.report import Check, Report
from jensenbench.core.denoiser import Denoiser
from jensenbench.diffusion.samplers import extrapolate, interpolate
from jensenbench.numerics.random import generator_of

LEVELS = (0.05, 0.5, 2.0, 10.0)
INFORMED = (0.5, 2.0)  # where neither the input nor the mean says nearly all
STANDARD_ERRORS = 4.0
PROBES = 6
ROUNDING = 1e-9  # of float64 answers of a closed form, relative to the states' size


@dataclass(frozen=True)
class PriorCase:
    """A prior with clean states in prior coordinates and unit noise, both (N, C, *grid) in one dtype.

    The dtype is float64 for an exact prior (a closed form) and float32 for a trained one.
    """

    prior: Denoiser
    states: Tensor
    noise: Tensor
    exact: bool

    @classmethod
    def of(cls, prior: Denoiser, states: Tensor, *, exact: bool, seed: int = 0) -> "PriorCase":
        dtype = torch.float64 if exact else torch.float32
        noise = torch.randn(states.shape, generator=generator_of((seed, "check")), dtype=torch.float64)
        return cls(prior, states.to(dtype), noise.to(dtype), exact)

    @property
    def size(self) -> float:
        return float(self.states.square().mean().sqrt())

    def noisy(self, sigma: float) -> Tensor:
        return self.states + sigma * self.noise


def check_prior(denoiser: Denoiser, states: Tensor, *, exact: bool, seed: int = 0) -> Report:
    """Hold a prior against the laws of a posterior mean.

    Args:
        states: (N, C, *grid) clean states in prior coordinates that the prior was not built from;
            a few hundred give the statistical checks their power.
        exact: the prior is a closed form, whose Jacobian must be symmetric and positive semi-definite
            and whose limits hold to rounding; a trained one meets them approximately, and its
            orthogonality is judged relative to its own error.
    """
    case = PriorCase.of(denoiser, states, exact=exact, seed=seed)
    return Report(type(denoiser).__name__, tuple(check for law in LAWS.values() for check in law(case)))


def _mean_limit(case: PriorCase) -> Check:
    """At sigma = inf the answer is one state for any input, within the sampling error of the data's mean."""
    answer = case.prior(case.noise, torch.inf)
    spread = float((answer - answer[:1]).abs().max())
    error = answer[0] - case.states.mean(0)
    allowed = STANDARD_ERRORS * case.states.std(0).square().mean().sqrt() / len(case.states) ** 0.5
    if not case.exact:
        allowed = allowed + 0.1 * case.size
    value = float(error.square().mean().sqrt())
    passed = value <= float(allowed) and spread <= ROUNDING * (case.size + 1) * (1 if case.exact else 1e6)
    return Check(
        "mean as sigma -> inf", passed, value, f"rms distance to the data's mean, allowed {float(allowed):.3g}"
    )


def _clean_limit(case: PriorCase) -> Check:
    """On the support, D(x; sigma) - x vanishes with sigma: judged at 1e-3 of the states' size and below."""
    sigma = max(1e-3 * case.size, case.prior.sigma_min)
    errors = [float((case.prior(case.states, s) - case.states).square().mean().sqrt()) for s in (0.0, sigma)]
    passed = max(errors) <= 2 * sigma
    return Check("identity as sigma -> 0", passed, max(errors), f"rms of D(x) - x on data, allowed {2 * sigma:.3g}")


def _kept_dtype(case: PriorCase) -> Check:
    sample = case.noisy(0.5)[:4]
    answers = [case.prior(sample.to(dtype), 0.5) for dtype in (torch.float32, torch.float64)]
    kept = answers[0].dtype == torch.float32 and answers[1].dtype == torch.float64
    gap = float((answers[0].double() - answers[1]).abs().max())
    return Check("dtype kept", kept and gap < 1e-2 * (case.size + 0.5), gap, "largest float32 - float64 difference")


def _independent_rows(case: PriorCase) -> Check:
    x, sigma = (
        case.noisy(1.0)[:5].double(),
        torch.tensor([0.1, 1.0, 3.0, 0.5, 20.0], dtype=torch.float64)[: len(case.states)],
    )
    together = case.prior(x, sigma)
    apart = torch.cat([case.prior(x[i : i + 1], sigma[i : i + 1]) for i in range(len(x))])
    gap, allowed = float((together - apart).abs().max()), ROUNDING if case.exact else 1e-3
    return Check("rows independent", gap <= allowed * (1 + case.size), gap, "largest change when rows go alone")


def _range_rules(case: PriorCase) -> list[Check]:
    """Outside [sigma_min, sigma_max] the answer is the one at the nearest end."""
    prior, x = case.prior, case.noisy(1.0)[:4]
    checks = []
    if prior.sigma_max < torch.inf:
        high = prior(x * 4, 4 * prior.sigma_max) - prior(x, prior.sigma_max)
        value = float(high.abs().max())
        checks.append(Check("above sigma_max", value <= 1e-4, value, "D(4x; 4 sigma_max) - D(x; sigma_max)"))
    if prior.sigma_min > 0:
        value = float((prior(x, prior.sigma_min / 4) - prior(x, prior.sigma_min)).abs().max())
        checks.append(Check("below sigma_min", value <= 1e-6, value, "D(x; sigma_min/4) - D(x; sigma_min)"))
    finite = all(bool(torch.isfinite(prior(x, sigma)).all()) for sigma in (0.0, 1e-8, 1e4, torch.inf))
    return [*checks, Check("finite for every sigma", finite, None, "sigma = 0, 1e-8, 1e4, inf")]


def _flow(case: PriorCase) -> Check:
    """The velocity of x_t = (1-t) eps + t x1 belongs to the same D, and is regular at noise and at states."""
    prior, eps, x1 = case.prior, case.noise[:4], case.states[:4]
    errors = [prior.velocity(eps, 0.0) - prior.velocity(eps, 1e-9), prior.velocity(x1, 1.0) - x1]
    for t in (0.05, 0.5, 0.95):
        x = interpolate(eps, x1, t)
        errors.append(extrapolate(x, prior.velocity(x, t), t) - prior(x / t, (1 - t) / t))
    value = max(float(error.abs().max()) for error in errors)
    allowed = (1e-6 if case.exact else 1e-3) * (1 + case.size)
    return Check("flow from t = 0 to 1", value <= allowed, value, f"largest deviation from D, allowed {allowed:.3g}")


def _jacobian(case: PriorCase) -> list[Check]:
    """J = Cov(x0 | x)/sigma² of an exact prior is symmetric and positive semi-definite, in random directions."""
    if not case.exact:
        return []
    asymmetry, lowest = 0.0, torch.inf
    for sigma in LEVELS:
        with torch.enable_grad():
            x = case.noisy(sigma)[:1].clone().requires_grad_()
            answer = case.prior(x, sigma)
            probes = case.noise[1 : 1 + PROBES]
            images = [torch.autograd.grad(answer, x, probe[None], retain_graph=True)[0][0] for probe in probes]
        gram = torch.stack(images).flatten(1) @ probes.flatten(1).T
        scale = float(gram.abs().max()) + 1e-300
        asymmetry = max(asymmetry, float((gram - gram.T).abs().max()) / scale)
        lowest = min(lowest, float(torch.linalg.eigvalsh((gram + gram.T) / 2).min()) / scale)
    return [
        Check("Jacobian symmetric", asymmetry <= 1e-8, asymmetry, "relative asymmetry of q' J p"),
        Check("Jacobian positive semi-definite", lowest >= -1e-8, lowest, "smallest relative eigenvalue of q' J p"),
    ]


def _orthogonality(case: PriorCase, sigma: float) -> list[Check]:
    """E[(x0 - D) g(x_t)] = 0 for any g: the error of a posterior mean is orthogonal to what it knows.

    A trained network's error has a part that is no posterior variance; it passes where the mean product
    is within 4 standard errors or below 5 % of the product of the root mean squares.
    """
    x = case.noisy(sigma)
    answer = case.prior(x, sigma)
    functions: dict[str, Callable[[], Tensor]] = {
        "1": lambda: torch.ones_like(x),
        "x_t": lambda: x,
        "D(x_t, sigma)": lambda: answer,
        "D(x_t, 1.2 sigma)": lambda: case.prior(x, 1.2 * sigma),
    }
    return [_orthogonal(case, sigma, name, case.states - answer, g()) for name, g in functions.items()]


def _orthogonal(case: PriorCase, sigma: float, name: str, error: Tensor, g: Tensor) -> Check:
    products = (error * g).flatten(1).mean(1).double()
    standard = float(products.std() / len(products) ** 0.5)
    value = float(products.mean())
    floor = 1e-12 if case.exact else 0.05 * float(error.square().mean().sqrt() * g.square().mean().sqrt())
    passed = abs(value) <= max(STANDARD_ERRORS * standard, floor)
    return Check(f"error orthogonal to {name} at sigma = {sigma:g}", passed, value, f"standard error {standard:.3g}")


def _calibration(case: PriorCase, sigma: float) -> Check:
    """Scaling the answer up or down must not lower the denoising loss beyond 4 paired standard errors."""
    answer = case.prior(case.noisy(sigma), sigma)
    loss = (answer - case.states).square().flatten(1).mean(1)
    worst = torch.inf
    for factor in (0.98, 1.02):
        change = ((factor * answer - case.states).square().flatten(1).mean(1) - loss).double()
        standard = float(change.std() / len(change) ** 0.5)
        slack = STANDARD_ERRORS * standard + (0.0 if case.exact else 0.01 * float(loss.mean()))
        worst = min(worst, float(change.mean()) + slack)
    return Check(
        f"scaling by .98 or 1.02 does not help at sigma = {sigma:g}",
        worst >= 0,
        worst,
        "smallest change of the loss plus slack",
    )


def _informed(case: PriorCase, sigma: float) -> Check:
    """No multiple of x_t denoises better; at middle levels a trained prior must do better than all of them.

    EDM's skip connection alone, an untrained network, is such a multiple and meets the other laws.
    """
    x = case.noisy(sigma)
    best = (case.states * x).sum() / x.square().sum() * x
    gain = ((best - case.states).square() - (case.prior(x, sigma) - case.states).square()).flatten(1).mean(1).double()
    standard = float(gain.std() / len(gain) ** 0.5)
    value, beaten = float(gain.mean()), not case.exact and sigma in INFORMED
    passed = value > STANDARD_ERRORS * standard if beaten else value >= -STANDARD_ERRORS * standard - ROUNDING
    wanted = "more than 4 standard errors above 0" if beaten else "not below 0"
    return Check(f"better than a multiple of x_t at sigma = {sigma:g}", passed, value, f"gain in loss, {wanted}")


def _at_level(sigma: float) -> Callable[[PriorCase], list[Check]]:
    return lambda case: [*_orthogonality(case, sigma), _calibration(case, sigma), _informed(case, sigma)]


def _one(law: Callable[[PriorCase], Check]) -> Callable[[PriorCase], list[Check]]:
    return lambda case: [law(case)]


_LAWS: Mapping[str, Callable[[PriorCase], list[Check]]] = {
    "mean as sigma -> inf": _one(_mean_limit),
    "identity as sigma -> 0": _one(_clean_limit),
    "dtype kept": _one(_kept_dtype),
    "rows independent": _one(_independent_rows),
    "range of sigma": _range_rules,
    "flow from t = 0 to 1": _one(_flow),
    "Jacobian": _jacobian,
    **{f"posterior mean at sigma = {sigma:g}": _at_level(sigma) for sigma in LEVELS},
}
LAWS = {name: torch.no_grad()(law) for name, law in _LAWS.items()}
