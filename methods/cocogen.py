"""CoCoGen (Jacobsen et al., arXiv 2312.10527): score-based sampling with residual corrections of the noisy state."""

from collections.abc import Iterator

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import AncestralRule, ScaledRule
from methods._cocogen import Corrector, Known
from methods._cocogen_settings import Corrected, Published

STABLE = 1e-3  # last time of the variant that exact scores do not upset


class CoCoGen(Iterative):
    """VP sampler with RePaint's conditioning; late states are moved down the gradient of their own squared residual."""

    name = "cocogen"
    Config = Published
    variants = {
        "corrected": Corrected(),
        "published": Published(),
        "published_stable": Published(last_time=STABLE),
        "pfode": Published(stochastic=False, resample=1),
    }
    capabilities = Capabilities(residual_of="noisy")
    tunes = ("corrected",)
    references = ("jacobsen2024cocogen",)
    deviations = (
        "The network is the shared denoiser: its score of the VP process is an exact change of variables.",
        "Variants `published` and `pfode` follow the code where it differs from the paper: the Jacobian's diagonal "
        "for the gradient, steps over its largest signed entry, which may be tiny, a start from N(0, 1) although "
        "the process has not forgotten x0 at t = 1, no corrections without data, noisy data taken for exact.",
        "At the published last time, 1e-5, the score of a law on a subspace, or of a denoiser, is so steep that the "
        "Euler step multiplies whatever lies off it by -65, five times in a row; `published_stable` ends at 1e-3.",
        "Corrections are in units of the published data's pressure std, and scaled to the std of other solutions.",
        "The diagonal is exact instead of by finite differences; no step is taken where its largest entry is zero.",
        "Variant `corrected`: ancestral steps on 12 levels of the EDM grid; gradient steps in prior coordinates to the "
        "smallest residual along them; corrections at all levels; noisy data replace entries only while the sampler's "
        "noise exceeds theirs.",
    )

    def skip(self, problem: Problem) -> str | None:
        if problem.observation is not None and not isinstance(problem.observation, MaskObservation):
            return "data must be entries of the fields, not an operator of them"
        if self.config.scheme not in problem.pde.schemes:
            return f"{problem.pde.name} has no residual of scheme {self.config.scheme!r}"
        return super().skip(problem)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        config, x = self.config, noise(prior.shape)
        known = Known(problem, x)
        rule = config.predictor(observed=known.exist)
        pasted = self.pasted(known, prior, rule)
        correct = Corrector(config, problem, known.mask & pasted[-1])
        last, extra = (config.last, config.extra) if known.exist or config.unconditional else (0, 0)
        if pasted[0]:
            x = known.paste(x, rule.noised(known.values, 0, noise))
        yield x
        for k, t in enumerate(rule.order, start=1):
            for again in reversed(range(config.resample if known.exist else 1)):
                x = rule.step(x, rule.denoise(prior, x, t), t, noise)
                if pasted[k]:
                    x = known.paste(x, rule.noised(known.values, k, noise))
                if again and k < len(rule.order):
                    x = rule.renoise(x, t, noise)
                if k > len(rule.order) - last:
                    x = correct(x, config.step)
            yield x
        if pasted[-1]:
            x = known.paste(x, known.values)
        for _ in range(extra):
            x = correct(x, config.extra_step)
        yield x

    def pasted(self, known: Known, prior: Denoiser, rule: AncestralRule | ScaledRule) -> list[bool]:
        """Whether the data replace entries of the state after so many steps: noisy ones may stop at their own level."""
        own = known.noise_std * prior.sigma_data if self.config.heed_noise else 0.0
        return [known.exist and (own == 0 or sigma > own) for sigma in rule.sigmas]
