"""Laws of the metrics: closed forms, unbiasedness, invariances, agreement with an independent implementation."""

import math

import numpy as np
import ot
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE
from jensenbench.errors import UnknownName
from jensenbench.evaluation import accuracy as acc
from jensenbench.evaluation import distribution as dist
from jensenbench.evaluation import sets
from jensenbench.evaluation.metrics import METRICS, find_metric, suffixed, tidy
from jensenbench.evaluation.post_processing import moved, paste, solve
from jensenbench.evaluation.residuals import residual_metrics
from jensenbench.evaluation.robustness import high_order_metrics
from jensenbench.plugins.registry import make_pde
from pdes._high_order import high_order_residual

STD = torch.tensor([2.0, 0.5], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def poisson() -> PDE:
    return make_pde("poisson", {"n": 8})


@pytest.fixture(scope="module")
def darcy() -> PDE:
    return make_pde("darcy", {"n": 8, "law": "two_valued"})


def observed(truth: Tensor, share: float = 0.3, seed: int = 3) -> acc.Observed:
    mask = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed)) < share
    return acc.Observed(MaskObservation(mask, truth * mask), truth)


def test_names_with_parts_and_post_processing_are_declared():
    assert find_metric("rel_l2_mean/u@solved").name == "rel_l2_mean"
    assert find_metric("free_law/interface_density/a").name == "free_law/interface_density"
    assert find_metric("mmse@solved@bootstrap").name == "mmse"
    assert all(metric.target is None or metric.direction in ("one", "nominal") for metric in METRICS.values())
    with pytest.raises(UnknownName, match="sliced_w2"):
        find_metric("slicd_w2")


def test_post_processing_goes_before_the_replicates():
    assert set(suffixed({"mmse": STD, "mmse@bootstrap": STD}, "solved")) == {"mmse@solved", "mmse@solved@bootstrap"}


def test_tidy_rows_name_instance_and_draw_and_drop_what_is_missing():
    draws = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])
    frame = tidy({"rel_l2/u": draws, "crps": draws[:, 0], "mmse": draws[0, 0], "mmse@bootstrap": draws[0]}, "run")
    rows = {(r.metric, r.instance, r.draw): r.value for r in frame.replace({pd.NA: None}).itertuples()}
    assert rows[("rel_l2/u", 1, 0)] == 3.0
    assert ("rel_l2/u", 1, 1) not in rows
    assert rows[("crps", 1, None)] == 3.0
    assert rows[("mmse", None, None)] == 1.0
    assert rows[("mmse@bootstrap", None, 1)] == 2.0


def test_the_truth_has_no_error(darcy):
    truth = darcy.generate(range(3), seed=0)
    values = acc.accuracy(darcy, truth[:, None].expand(-1, 5, -1, -1, -1), observed(truth), STD)
    for name, value in values.items():
        if find_metric(name).direction == "lower":
            assert value.abs().max() < 1e-15, name


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_relative_error_and_crps_ignore_units_and_the_order_of_draws(factor, seed):
    pde = make_pde("poisson", {"n": 8})
    truth, draws = normal(2, 2, 8, 8, seed=seed), normal(2, 5, 2, 8, 8, seed=seed + 100)
    seen = observed(truth)
    first = acc.accuracy(pde, draws, seen, STD)
    mask = seen.observation.mask
    scaled = acc.Observed(MaskObservation(mask, truth * mask * factor), truth * factor)
    second = acc.accuracy(pde, draws[:, [4, 2, 0, 1, 3]] * factor, scaled, STD * factor)
    for name in first:
        a, b = first[name], second[name]
        a = a[:, [4, 2, 0, 1, 3]] if a.ndim == 2 else a
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12), name


def test_relative_error_of_a_known_perturbation():
    truth = normal(4, 2, 50)
    assert torch.allclose(acc.relative_error(1.1 * truth, truth), torch.full((4, 2), 0.1, dtype=torch.float64))


def test_error_rate_counts_wrong_pixels_of_two_valued_fields(darcy):
    truth = darcy.generate(range(2), seed=0).flatten(2)
    wrong = truth.clone()
    wrong[:, 0, :5] = 15.0 - wrong[:, 0, :5]  # 3 and 12 swapped
    rates = acc.error_rates(darcy, wrong[:, None], truth)
    assert torch.allclose(rates["error_rate/a"], torch.full((2, 1), 5 / 64, dtype=torch.float64))
    assert float(rates["points/a"]) == 64
    assert "error_rate/u" not in rates


def test_fair_crps_of_gaussian_draws_is_the_closed_form_for_any_number_of_draws():
    y = 0.7
    phi, cdf = math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(y / math.sqrt(2)))
    exact = y * (2 * cdf - 1) + 2 * phi - 1 / math.sqrt(math.pi)
    truth = torch.full((100_000, 1), y, dtype=torch.float64)
    for count in (2, 3, 8):
        values = acc.crps(normal(100_000, count, 1, seed=count), truth)
        assert abs(float(values.mean()) - exact) < 4 * float(values.std()) / math.sqrt(len(values))


def test_crps_of_one_draw_is_the_absolute_error():
    assert torch.equal(acc.crps(normal(4, 1, 3), torch.zeros(4, 3)), normal(4, 1, 3)[:, 0].abs())


def test_crps_reads_unknown_pixels_only(poisson):
    truth = normal(2, 2, 8, 8)
    seen = observed(truth)
    draws = torch.where(seen.observation.mask[:, None], 1e6, truth[:, None]).expand(-1, 4, -1, -1, -1)
    assert float(acc.accuracy(poisson, draws, seen, STD)["crps"].max()) == 0


def test_a_wholly_observed_field_has_no_crps(poisson):
    truth = normal(2, 2, 8, 8)
    mask = torch.zeros(truth.shape, dtype=torch.bool)
    mask[:, 0] = True
    values = acc.accuracy(poisson, normal(2, 4, 2, 8, 8), acc.Observed(MaskObservation(mask, truth * mask), truth), STD)
    assert values["crps/f"].isnan().all()
    assert torch.isfinite(values["crps/u"]).all()
    assert torch.allclose(values["crps"], values["crps/u"])


@pytest.mark.parametrize("count", [4, 8, 16])
def test_exchangeable_draws_cover_at_the_nominal_level_whatever_their_number(count):
    draws, truth = normal(20_000, count, 1, seed=1), normal(20_000, 1, seed=2)
    low, high = acc.rank_interval(draws, truth)
    for level in (0.5, 0.9):
        inside = acc.coverage(low, high, level)
        assert abs(float(inside.mean()) - level) < 4 * float(inside.std()) / math.sqrt(len(inside))


def test_coverage_and_spread_skill_see_draws_that_are_too_narrow():
    truth, unknown = normal(20, 1, 500, seed=1), torch.ones(20, 1, 500, dtype=torch.bool)
    fair = acc.calibration(normal(20, 8, 1, 500, seed=2), truth, unknown)
    narrow = acc.calibration(0.3 * normal(20, 8, 1, 500, seed=2), truth, unknown)
    assert float(narrow["coverage_90"].mean()) < 0.8 < float(fair["coverage_90"].mean())
    assert abs(float(fair["spread_skill"].mean()) - 1) < 0.03
    assert float(narrow["spread_skill"].mean()) < 0.4


def test_tied_ranks_share_their_probability():
    zeros = torch.zeros(1, 1)
    low, high = acc.rank_interval(torch.zeros(1, 4, 1), zeros)
    assert float(acc.coverage(low, high, 0.9)) == pytest.approx(0.9)


def test_oracle_metrics_of_exact_draws(poisson):
    mean, std = normal(4, 2, 8, 8, seed=1), normal(4, 2, 8, 8, seed=2).abs() + 0.1
    truth = mean + std * normal(4, 2, 8, 8, seed=3)
    draws = mean[:, None] + std[:, None] * normal(4, 16, 2, 8, 8, seed=4)
    values = acc.oracle(poisson, draws, observed(truth, share=0.0), acc.Optimum(mean, std, mean[:, None]), STD)
    expected = std.square().flatten(2).sum(-1).div(16).sqrt() / torch.linalg.vector_norm(mean.flatten(2), dim=-1)
    assert torch.allclose(values["posterior_std_ratio/u"], torch.ones(4, dtype=torch.float64), atol=0.2)
    assert torch.allclose(values["posterior_mean_error/u"], expected[:, 1], rtol=0.4)
    exact = acc.oracle(poisson, mean[:, None], observed(truth, share=0.0), acc.Optimum(mean, std, mean[:, None]), STD)
    assert torch.equal(exact["error_over_optimum/f"], torch.ones(4, dtype=torch.float64))


def test_oracle_metrics_are_missing_where_nothing_is_uncertain(poisson):
    mean = normal(2, 2, 8, 8)
    values = acc.oracle(
        poisson, mean[:, None], observed(mean), acc.Optimum(mean, torch.zeros_like(mean), mean[:, None]), STD
    )
    assert all(value.isnan().all() for value in values.values())


def test_mean_and_std_errors_are_unbiased_for_small_samples(poisson):
    skewed = torch.distributions.Exponential(torch.tensor(1.0, dtype=torch.float64))
    torch.manual_seed(0)
    mmse, smse = [], []
    for _ in range(40):
        reference = sets.make_reference(skewed.sample((60, 2, 8, 8)), torch.ones(2))
        there, here = reference.moments, sets.moments(sets.unit_channels(skewed.sample((40, 2, 8, 8)), torch.ones(2)))
        mmse.append(((here.mean - there.mean) ** 2 - here.mean_error - there.mean_error).mean())
        smse.append((here.std - there.std) ** 2 - here.std_error - there.std_error)
    raw = 1 / 40 + 1 / 60
    assert abs(float(torch.stack(mmse).mean())) < 0.05 * raw
    raw = 8 / 4 * (1 / 40 + 1 / 60)  # Var(s) = (kurtosis - 1) sigma^2/(4 n), kurtosis 9
    assert abs(float(torch.stack(smse).mean())) < 0.35 * raw  # the delta method leaves terms of order 1/n²


def test_set_metrics_are_their_formulas_with_the_correction_of_small_samples(poisson):
    """The sampling variance of both sides is subtracted; that of a std is (m4 - (n-3)/(n-1) s⁴)/(4 n s²)."""
    rng = np.random.default_rng(3)
    there, here = rng.normal(size=(30, 2, 8, 8)), 1.3 * rng.normal(size=(12, 2, 8, 8)) + 0.2
    reference = sets.make_reference(torch.from_numpy(there), torch.ones(2))
    values = dist.distribution(poisson, torch.from_numpy(here), reference)
    of_means, of_stds = 0.0, 0.0
    for x in (there, here):
        n, variance = len(x), x.var(0, ddof=1)
        fourth = ((x - x.mean(0)) ** 4).mean(0)
        of_means = of_means + variance / n
        of_stds = of_stds + (fourth - variance**2 * (n - 3) / (n - 1)) / (4 * n * variance)
    mmse = ((here.mean(0) - there.mean(0)) ** 2 - of_means).mean()
    smse = ((here.std(0, ddof=1) - there.std(0, ddof=1)) ** 2 - of_stds).mean()
    assert float(values["mmse"]) == pytest.approx(mmse, rel=1e-10)
    assert float(values["smse"]) == pytest.approx(smse, rel=1e-10)
    assert abs(mmse) < abs(mmse + of_means.mean()), "the correction shows"


def test_set_metrics_measure_a_known_shift_and_scale(poisson):
    base = normal(4000, 2, 8, 8)
    reference = sets.make_reference(base[:2000] * STD[:, None, None], STD)
    values = dist.distribution(poisson, (1.5 * base[2000:] + 0.25) * STD[:, None, None], reference)
    assert float(values["mmse"]) == pytest.approx(0.0625, rel=0.05)
    assert float(values["smse/u"]) == pytest.approx(0.25, rel=0.05)
    assert float(values["std_ratio/f"]) == pytest.approx(1.5, rel=0.02)


def test_sliced_w2_of_shifted_gaussians():
    size, shift = 64, 3.0
    x, y = normal(3000, size, seed=1), normal(2500, size, seed=2) + shift
    directions = sets.random_directions(size, 0)
    found = sets.sliced_w2(*(sets.ordered(sets.project(s[:, None], directions)) for s in (x, y)))
    expected = shift * math.sqrt(float(directions.sum(0).square().mean()))
    assert float(found) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("sizes", [(50, 50), (40, 70), (30, 90)])
def test_sliced_w2_equals_pot_on_the_same_directions(sizes):
    x, y = normal(sizes[0], 1, 12, seed=1), 1.3 * normal(sizes[1], 1, 12, seed=2)
    directions = sets.random_directions(12, 0)
    found = sets.sliced_w2(*(sets.ordered(sets.project(s, directions)) for s in (x, y)))
    expected = ot.sliced_wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy(), projections=directions.numpy())
    assert float(found) == pytest.approx(float(expected), rel=1e-10)


@given(n=st.integers(1, 30), m=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_partners_give_the_distance_of_the_coupling(n, m):
    x, y = (sets.ordered(normal(3, size, seed=size)) for size in (n, m))
    mean, variance = sets.partners(y, n)
    squared = float(((x - mean).square().mean(1) + variance).mean())
    assert squared == pytest.approx(float(sets.sliced_w2(x, y)) ** 2, abs=1e-12)
    assert float(sets.coupling(n, m)[2].sum()) == pytest.approx(1.0)


def test_replicates_are_centred_repeatable_and_as_wide_as_fresh_samples(poisson):
    reference = sets.make_reference(normal(1000, 2, 8, 8, seed=9), torch.ones(2))

    def score(seed: int) -> dict[str, Tensor]:
        return dist.distribution(poisson, normal(100, 2, 8, 8, seed=seed) + 0.2, reference)

    first, fresh = score(1), [score(seed) for seed in range(2, 14)]
    for name in ("mmse", "sliced_w2", "std_ratio/u"):
        replicates = first[f"{name}@bootstrap"]
        assert torch.equal(replicates, score(1)[f"{name}@bootstrap"])
        assert float(replicates.mean()) == pytest.approx(float(first[name]))
        assert 0.5 < float(replicates.std() / torch.stack([values[name] for values in fresh]).std()) < 2, name


def test_free_law_of_a_checkerboard_and_of_a_scaled_field(darcy):
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    assert float(dist.interface_density(board.bool()[None])) == 1.0
    assert float(dist.interface_density(torch.zeros(1, 8, 8, dtype=torch.bool))) == 0.0
    states = darcy.generate(range(50), seed=0)
    doubled = states * torch.tensor([2.0, 1.0])[:, None, None] - torch.tensor([7.5, 0.0])[:, None, None]
    law = dist.free_law(darcy, doubled, states)
    assert float(law["free_law/gradient_energy/a"]) == pytest.approx(4.0)
    assert float(law["free_law/interface_density/a"]) == pytest.approx(1.0)


def test_residuals_of_data_are_round_off_and_of_a_perturbed_state_known(poisson):
    states = poisson.generate(range(6), seed=0)
    fields = states.reshape(3, 2, *poisson.shape)
    assert float(residual_metrics(poisson, fields, 1.0)["residual_max"].max()) < 1e-10
    shifted = fields.clone()
    shifted[:, :, 0] += 0.5  # f enters once, with factor one
    values = residual_metrics(poisson, shifted, 2.0)
    for name in ("residual_rms", "residual_mae", "residual_max"):
        assert torch.allclose(values[name], torch.full((3,), 0.5, dtype=torch.float64)), name
    assert torch.allclose(values["residual_rel"], torch.full((3,), 0.25, dtype=torch.float64))
    assert "residual_thresholded" not in values


def test_amplitude_cannot_cheat_the_own_residual(poisson):
    fields = normal(2, 3, *poisson.shape)
    whole, faint = (residual_metrics(poisson, f, 1.0) for f in (fields, 1e-3 * fields))
    assert torch.allclose(faint["residual_own"], whole["residual_own"])
    assert torch.allclose(faint["residual_rel"], 1e-3 * whole["residual_rel"])


def test_thresholding_undoes_a_grey_coefficient(darcy):
    states = darcy.generate(range(4), seed=0)
    grey = states.clone()
    grey[:, 0] = 7.5 + 0.8 * (grey[:, 0] - 7.5)
    values = residual_metrics(darcy, grey[:, None], 1.0)
    assert float(values["residual_thresholded"].max()) < 1e-9 < float(values["residual_rel"].min())


def test_another_stencil_sees_truncation_and_nothing_where_nothing_is_discretised(poisson):
    fields = poisson.generate(range(6), seed=0).reshape(3, 2, *poisson.shape)
    values = high_order_metrics(poisson, fields, 2.0)["residual_high_order"]
    assert values.shape == (3,)
    residual = high_order_residual(poisson, fields.flatten(0, 1))
    assert residual is not None
    assert float(values.square().mean().sqrt()) == pytest.approx(float(residual.square().mean().sqrt()) / 2)
    circle = make_pde("circle", {})
    assert high_order_metrics(circle, circle.generate(range(2), seed=0)[:, None], 1.0) == {}


def test_pasted_fields_hold_the_observations_and_nothing_else_changes():
    truth, fields = normal(2, 2, 8, 8), normal(2, 3, 2, 8, 8, seed=5)
    data = observed(truth).observation
    pasted = paste(fields, data)
    mask = data.mask[:, None].expand_as(fields)
    assert torch.equal(pasted[mask], truth[:, None].expand_as(fields)[mask])
    assert torch.equal(pasted[~mask], fields[~mask])


def test_solved_fields_keep_the_coefficient_and_meet_the_equation(darcy):
    fields = darcy.generate(range(4), seed=0).reshape(2, 2, *darcy.shape)
    broken = fields + 0.5 * normal(*fields.shape)
    solved = solve(darcy, broken)
    assert solved.refused == 0
    assert torch.allclose(solved.fields, fields, atol=1e-10)  # noise of 0.5 stays on its side of the threshold
    distance = moved(darcy, broken, solved.fields, torch.tensor([1.0, 0.5]))
    expected = (broken - fields).flatten(3).square().mean(-1).mean(1).sqrt()
    assert torch.allclose(distance["moved/u"], expected[:, 1] / 0.5)


def test_a_refused_state_is_missing_and_the_others_are_solved():
    pde = make_pde("darcy", {"n": 8, "law": "lognormal"})
    fields = pde.generate(range(4), seed=0).reshape(2, 2, *pde.shape)
    spoiled = fields.clone()
    spoiled[0, 1, 0, 3, 3] = -1.0
    spoiled[1, 0, 1, 2, 2] = torch.nan
    solved = solve(pde, spoiled)
    assert solved.refused == 2
    assert "2 of 4" in solved.reason
    assert solved.fields[0, 1].isnan().all()
    assert solved.fields[1, 0].isnan().all()
    assert torch.allclose(solved.fields[1, 1], fields[1, 1], atol=1e-10)


def test_a_solver_bug_is_no_refusal(poisson):
    class Faulty(type(poisson)):
        def solve(self, state):
            raise TypeError("bug")

    with pytest.raises(TypeError, match="bug"):
        solve(Faulty(poisson.config), normal(1, 1, *poisson.shape))
