"""Coverage of the intervals and error rate of the tests, by simulation; transforms and back."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jensenbench.evaluation.metrics import METRICS
from jensenbench.evaluation.statistics import (
    Scale,
    Separation,
    estimate,
    estimate_skewed,
    from_replicates,
    holm,
    separate,
    separate_sets,
)


def crossed(rng: np.random.Generator, seeds: int, instances: int, spreads: tuple[float, float, float]) -> np.ndarray:
    """Values with mean 0 and independent effects of seed, instance and both."""
    a, b, e = spreads
    rows, columns = rng.normal(0, a, (seeds, 1)), rng.normal(0, b, (1, instances))
    return rows + columns + rng.normal(0, e, (seeds, instances))


def covered(values: np.ndarray) -> bool:
    low, high = estimate(values).interval()
    return low <= 0 <= high


@pytest.mark.parametrize("spreads", [(1, 1, 1), (1, 0, 0.5), (0, 1, 0.5), (0, 0, 1), (0.3, 2, 0.3)])
@pytest.mark.parametrize("shape", [(3, 16), (5, 8)])
def test_the_two_way_interval_covers_what_it_says(shape, spreads):
    rng = np.random.default_rng(1)
    rate = np.mean([covered(crossed(rng, *shape, spreads)) for _ in range(600)])
    assert 0.94 <= rate <= 1


def test_pooling_seeds_and_instances_would_not_cover():
    rng = np.random.default_rng(2)
    pooled = [covered(crossed(rng, 5, 8, (1, 1, 0.3)).reshape(1, -1)) for _ in range(600)]
    assert np.mean(pooled) < 0.8


def test_the_interval_of_one_seed_covers_given_that_seed_and_says_so():
    rng = np.random.default_rng(3)
    rate = np.mean([covered(rng.normal(0, 1, (1, 12))) for _ in range(1000)])
    assert abs(rate - 0.95) < 0.03
    assert estimate(rng.normal(0, 1, (1, 12))).conditional
    assert not estimate(rng.normal(0, 1, (3, 12))).conditional


def test_one_instance_of_one_seed_has_no_interval():
    low, high = estimate(np.array([[1.5]])).interval()
    assert math.isnan(low)
    assert math.isnan(high)
    assert estimate(np.array([[1.5]])).p_value() == 1


def test_instances_without_a_value_are_left_out():
    values = np.array([[1.0, np.nan, 3.0, 2.0]])
    assert estimate(values).mean == 2
    assert estimate(values).instances == 3


def test_holm_of_a_known_example_and_of_one_test():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04]).tolist() == [0.04]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_the_raw_values_and_bonferroni(p):
    raw, adjusted = np.array(p), holm(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(p)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_methods_are_separated_in_at_most_five_per_cent_of_tables(seeds):
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(400):
        shared = rng.normal(0, 2, (1, 12))
        methods = {name: shared + rng.normal(0, 1, (seeds, 12)) for name in "abcde"}
        wrong += separate(methods).best != set(methods)
    assert wrong / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def satterthwaite(values: np.ndarray) -> float:
    """Degrees of freedom that suit independent effects of equal variances, for comparison."""
    (s, n), mean = values.shape, values.mean()
    rows, columns = values.mean(1), values.mean(0)
    a, b = n * rows.var(ddof=1), s * columns.var(ddof=1)
    e = np.square(values - rows[:, None] - columns + mean).sum() / ((s - 1) * (n - 1))
    total = a + b - e
    return total**2 / (a**2 / (s - 1) + b**2 / (n - 1) + e**2 / ((s - 1) * (n - 1))) if total > e else (s - 1) * (n - 1)


@pytest.mark.parametrize("methods", [2, 5, 12])
@pytest.mark.parametrize("skewed", [False, True])
def test_training_seeds_that_act_on_each_method_differently_separate_no_equal_methods(methods, skewed):
    """Three seeds, sixteen instances, one method lost in each table; Satterthwaite's degrees of freedom fail here."""
    rng, tables = np.random.default_rng(7), 150
    wrong, optimistic = 0, 0
    for _ in range(tables):
        shared = rng.normal(0, 1, (1, 16))
        noise = rng.standard_gamma(1, (methods, 3, 16)) - 1 if skewed else rng.normal(0, 1, (methods, 3, 16))
        effects = rng.normal(0, 1, (methods, 3, 1)) * rng.uniform(0.2, 2, (methods, 1, 1))
        values = dict(enumerate(shared + effects + 0.3 * noise))
        found = separate({f"m{i}": v for i, v in values.items()} | {"failed": np.full((3, 16), np.nan)})
        wrong += bool((np.array(list(found.p_values.values())) < 0.05).any())
        pairs = [a - b for a, b in combinations(values.values(), 2)] if methods == 12 else []
        p = [2 * stats.t.sf(abs(one.mean) / one.error, satterthwaite(d)) for d in pairs for one in [estimate(d)]]
        optimistic += bool(p) and bool((holm(p) < 0.05).any())
    slack = 3 * math.sqrt(0.05 * 0.95 / tables)
    assert wrong / tables < 0.05 + slack
    if methods == 12:
        assert optimistic / tables > 0.05 + slack, "the simulation could not tell one rule from the other"


@pytest.mark.parametrize(("draw", "least"), [("lognormal", 0.87), ("gamma", 0.90)])
def test_the_interval_of_a_skewed_mean_covers_it(draw, least):
    """Sixteen instances, nominally 95 %; Student's interval falls short."""
    rng, count = np.random.default_rng(8), 500
    values = rng.lognormal(0, 1, (count, 16)) if draw == "lognormal" else rng.standard_gamma(0.3, (count, 16))
    truth = math.exp(0.5) if draw == "lognormal" else 0.3

    def coverage(of) -> float:
        return float(np.mean([low <= truth <= high for low, high in (of(row[None]).interval() for row in values)]))

    assert coverage(estimate_skewed) > least
    assert coverage(estimate) < 0.86


def test_the_interval_of_a_symmetric_mean_stays_about_student_s():
    values = np.random.default_rng(9).normal(0, 1, (1, 40))
    assert estimate_skewed(values).interval() == pytest.approx(estimate(values).interval(), abs=0.06)
    assert estimate_skewed(values).interval() == estimate_skewed(values).interval()
    assert estimate_skewed(np.ones((1, 9))).interval() == (1, 1)
    assert estimate_skewed(values[:, :4]).interval() == estimate(values[:, :4]).interval()


def test_ranks_are_ranges_over_what_is_not_separated():
    """a < b, c < d with b and c tied; e is separated from nothing."""
    means = {"a": 1.0, "b": 2.0, "c": 2.1, "d": 3.0, "e": 2.5}
    told = {("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")}
    p = {pair: 0.01 if pair in told else 0.5 for pair in combinations(means, 2)}
    assert Separation(means, p).ranks == {"a": (1, 2), "b": (2, 4), "c": (2, 4), "d": (4, 5), "e": (1, 5)}
    assert Separation(means, p).best == {"a", "e"}
    assert Separation({"only": 1.0}, {}).ranks == {"only": (1, 1)}


def test_pairing_separates_what_differs_less_than_instances_do():
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 5, (1, 16))
    better = shared + rng.normal(0, 0.1, (1, 16))
    found = separate({"better": better, "worse": better + 0.3 + rng.normal(0, 0.1, (1, 16))})
    assert found.best == {"better"}
    assert found.ranks == {"better": (1, 1), "worse": (2, 2)}


def test_a_method_with_gaps_is_never_the_best():
    assert separate({"gaps": np.array([[0.0, np.nan]]), "whole": np.array([[5.0, 6.0]])}).best == {"whole"}
    assert separate({}).best == set()


def test_set_metrics_are_compared_by_shared_replicates():
    rng = np.random.default_rng(6)
    common = rng.normal(0, 1, (1, 200))
    replicates = {
        "a": 1 + common,
        "b": 1.2 + common + rng.normal(0, 0.01, (1, 200)),
        "c": 1.3 + rng.normal(0, 1, (1, 200)),
    }
    values = {"a": np.array([1.0]), "b": np.array([1.2]), "c": np.array([1.3])}
    assert separate_sets(values, replicates).best == {"a", "c"}
    low, high = from_replicates(values["a"], replicates["a"]).interval()
    assert low < 1 < high


def test_three_seeds_of_a_set_metric_need_no_replicates():
    found = from_replicates(np.array([1.0, 1.1, 1.2]), None)
    assert not found.conditional
    assert found.df == 2


@given(value=st.floats(0, 1), name=st.sampled_from(["rel_l2", "residual_rel", "error_rate", "mmse"]))
def test_transforms_come_back(value, name):
    scale = Scale(METRICS[name], floor=1e-7, count=256)
    assert scale.back(float(scale.forward(np.array(value)))) == pytest.approx(value, rel=1e-9, abs=1e-15)


def test_cost_measures_the_distance_from_a_target():
    ratio, coverage = Scale(METRICS["std_ratio"]), Scale(METRICS["coverage_90"])
    assert ratio.cost(ratio.forward(np.array([0.5, 2.0]))) == pytest.approx(math.log(2))
    assert coverage.cost(np.array([0.85, 0.95])) == pytest.approx(0.05)
