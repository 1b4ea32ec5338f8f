"""The statistics of studies against textbook cases, and their errors over simulated studies."""

import itertools
import math

import numpy as np
import pytest
import scipy

from nst.studies.statistics import (
    ALPHA,
    FLIPS,
    Finding,
    above,
    contrary,
    holm,
    interval,
    least_pairs,
    one_sided,
    pairs_needed,
    within,
)

STUDIES = 1000
# Darwin's maize, crossed less self-fertilised, in eighths of an inch: Fisher, The Design of Experiments, 1935
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_fishers_randomisation_test_of_darwins_maize() -> None:
    """Of all 32,768 signs, 863 give a sum as large."""
    assert one_sided(MAIZE) == 863 / 32768


@pytest.mark.parametrize("pairs", [3, 6, 9])
def test_the_test_tries_all_signs(pairs: int) -> None:
    effects = np.random.default_rng(pairs).normal(0.3, 1, pairs)
    sums = [np.dot(signs, effects) for signs in itertools.product((1, -1), repeat=pairs)]
    assert one_sided(effects) == pytest.approx(np.mean([s >= effects.sum() - 1e-12 for s in sums]))


def test_of_many_pairs_signs_are_drawn() -> None:
    effects = np.random.default_rng(1).normal(0.4, 1, 40)
    t = scipy.stats.ttest_1samp(effects, 0, alternative="greater").pvalue
    assert one_sided(effects) == pytest.approx(t, abs=4 * math.sqrt(t / FLIPS) + 0.002)
    assert one_sided([1.0] * 40) == pytest.approx(1 / (FLIPS + 1))


def test_effects_that_are_all_alike_are_as_sure_as_their_number_allows() -> None:
    found = above([0.5] * 6)
    assert (found.support, found.low, found.high, found.lies) == (2 / 2**6, 0.5, 0.5, 1)
    assert above([0.0] * 6).support == 1.0
    assert above([0.0] * 6).lies == 0


def test_none_and_one_pair_say_nothing() -> None:
    assert above([]).support == 1.0
    assert above([1.0]).support == 1.0
    assert math.isnan(above([1.0]).low)
    assert pairs_needed(above([1.0])) is None


def test_the_interval_is_that_of_the_mean() -> None:
    effects = np.random.default_rng(2).normal(3, 2, 200)
    low, high = interval(effects)
    t = scipy.stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((t.low, t.high), abs=0.06)


def test_holm() -> None:
    """The example of Wright, Biometrics 48, 1992, and of R's p.adjust."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("size", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_pairs_needed_are_cohens(size: float, pairs: int) -> None:
    """Of a paired t-test of 0.05 with a power of 0.8, for small, medium and large effects."""
    assert pairs_needed(_effect(size)) == pairs


def test_no_effect_takes_no_number_of_pairs() -> None:
    assert pairs_needed(_effect(0.0)) is None
    assert pairs_needed(_effect(0.001)) is None


def test_so_few_pairs_can_never_be_sure() -> None:
    assert pairs_needed(_effect(50.0)) == least_pairs() == 6
    assert 2 / 2**6 <= ALPHA < 2 / 2**5


def _effect(size: float) -> Finding:
    return Finding(size, 0, 0, 1, 1, 0, room=size, spread=1, pairs=10)


def _supported(found: Finding) -> bool:
    return found.support <= ALPHA and found.lies == 1


def _rate(draw: "np.ndarray", **margin: float) -> float:
    """In how many studies the claim is supported; what the test does not support needs no interval."""
    count = 0
    for effects in draw:
        if margin:
            m = margin["margin"]
            p = 2 * max(one_sided(effects + m), one_sided(m - effects))
            count += p <= ALPHA and _supported(within(effects, m))
        else:
            count += 2 * one_sided(effects) <= ALPHA and _supported(above(effects))
    return count / len(draw)


@pytest.mark.parametrize("kind", ["normal", "t", "laplace"])
def test_without_an_effect_a_claim_is_supported_in_2_5_percent_at_most(kind: str) -> None:
    rng = np.random.default_rng(0)
    shape = (STUDIES, 9)
    draw = {"normal": rng.normal, "laplace": rng.laplace}.get(kind, lambda size: rng.standard_t(2, size))(
        size=shape
    )
    chance = 3 * math.sqrt(0.025 * 0.975 / STUDIES)
    assert _rate(draw) <= 0.025 + chance
    assert _rate(-draw) <= 0.025 + chance  # and refuted


def test_a_known_effect_is_found_at_the_promised_power() -> None:
    pairs = pairs_needed(_effect(1.0))
    assert pairs == 10
    rate = _rate(np.random.default_rng(0).normal(1.0, 1, (STUDIES, pairs)))
    assert 0.75 <= rate <= 0.86


def test_an_effect_at_the_margin_is_called_alike_in_2_5_percent_at_most() -> None:
    draw = np.random.default_rng(0).normal(1.0, 0.5, (STUDIES, 9))
    assert _rate(draw, margin=1.0) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / STUDIES)
    near = np.random.default_rng(0).normal(0.0, 0.5, (200, 9))
    assert _rate(near, margin=1.0) > 0.9


def test_apart_is_the_contrary_of_alike() -> None:
    effects = np.random.default_rng(0).normal(2.0, 0.3, 9)
    alike = within(effects, 1.0)
    assert (alike.lies, contrary(alike).lies) == (-1, 1)
    assert alike.refute == contrary(alike).support <= ALPHA


def test_effects_of_both_signs_beyond_the_margin_in_the_mean_are_found() -> None:
    assert within([-2.0] * 8, 1.0).lies == -1
    assert within([-2.0] * 8, 1.0).refute == pytest.approx(2 / 2**8)
