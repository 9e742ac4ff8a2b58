"""Coverage of the intervals and error rate of the tests, by simulation; transforms and back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jensenbench.evaluation.metrics import METRICS
from jensenbench.evaluation.statistics import Scale, estimate, from_replicates, holm, tied, tied_sets


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
    assert 0.92 <= rate <= 1


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
        wrong += tied(methods) != set(methods)
    assert wrong / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_pairing_separates_what_differs_less_than_instances_do():
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 5, (1, 16))
    better = shared + rng.normal(0, 0.1, (1, 16))
    assert tied({"better": better, "worse": better + 0.3 + rng.normal(0, 0.1, (1, 16))}) == {"better"}


def test_a_method_with_gaps_is_never_the_best():
    assert tied({"gaps": np.array([[0.0, np.nan]]), "whole": np.array([[5.0, 6.0]])}) == {"whole"}
    assert tied({}) == set()


def test_set_metrics_are_compared_by_shared_replicates():
    rng = np.random.default_rng(6)
    common = rng.normal(0, 1, (1, 200))
    replicates = {
        "a": 1 + common,
        "b": 1.2 + common + rng.normal(0, 0.01, (1, 200)),
        "c": 1.3 + rng.normal(0, 1, (1, 200)),
    }
    values = {"a": np.array([1.0]), "b": np.array([1.2]), "c": np.array([1.3])}
    assert tied_sets(values, replicates) == {"a", "c"}
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
