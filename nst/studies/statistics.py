"""The statistics of paired effects: an exact test, an interval, Holm's correction, how many pairs it takes.

A study has an effect for each pair. A claim holds where the mean effect is above a bound, or between two;
each bound is tested on its own, and then on both sides of it: for the claim, and against it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ALPHA = 0.05  # of both sides: a claim without an effect is supported in 2.5% of studies at most
POWER = 0.8
EXACT = 16  # pairs up to which all 2^n signs are tried
FLIPS = 9_999  # of more pairs, so many at random
RESAMPLES = 9_999
MOST = 10_000  # pairs worth planning for


@dataclass(frozen=True)
class Finding:
    """What the pairs say of one effect.

    Attributes:
        mean: of the effects.
        low, high: the interval of 95% around it; NaN where there are fewer than two pairs.
        support, refute: the p-values of the claim and of its contrary.
        lies: 1 where the interval lies as the claim says, -1 as its contrary says, 0 else.
        room: how far the mean is from the nearest bound.
        spread: the standard deviation of the effects.
        pairs: how many.
    """

    mean: float
    low: float
    high: float
    support: float
    refute: float
    lies: int
    room: float
    spread: float
    pairs: int


def above(effects: Sequence[float]) -> Finding:
    """Whether the mean effect is above 0."""
    x = np.asarray(effects, float)
    low, high = interval(x)
    lies = 1 if low > 0 else -1 if high < 0 else 0
    support, refute = (min(1.0, 2 * one_sided(sign * x)) for sign in (1, -1))
    return _finding(x, low, high, support, refute, lies, abs(float(x.mean())) if len(x) else 0.0)


def within(effects: Sequence[float], margin: float) -> Finding:
    """Whether the mean effect is between -margin and margin (two one-sided tests; Schuirmann, 1987)."""
    x = np.asarray(effects, float)
    low, high = interval(x)
    lies = 1 if -margin < low and high < margin else -1 if low > margin or high < -margin else 0
    support = min(1.0, 2 * max(one_sided(x + margin), one_sided(margin - x)))
    refute = min(1.0, 2 * min(one_sided(x - margin), one_sided(-x - margin)))
    return _finding(
        x, low, high, support, refute, lies, abs(margin - abs(float(x.mean()))) if len(x) else 0.0
    )


def contrary(finding: Finding) -> Finding:
    """The same, of the contrary claim."""
    return Finding(
        **vars(finding) | {"support": finding.refute, "refute": finding.support, "lies": -finding.lies}
    )


def _finding(
    x: np.ndarray, low: float, high: float, support: float, refute: float, lies: int, room: float
) -> Finding:
    mean = float(x.mean()) if len(x) else math.nan
    spread = float(x.std(ddof=1)) if len(x) > 1 else math.nan
    return Finding(mean, low, high, support, refute, lies, room, spread, len(x))


def one_sided(effects: Sequence[float] | np.ndarray) -> float:
    """The p-value of effects whose mean is above 0: how often the signs, flipped at random, give such a mean.

    It is exact for up to 16 pairs (Fisher's randomisation test, 1935), and needs no normal distribution:
    only that a pair's effect is as likely to be x as -x where there is none.
    """
    x = np.asarray(effects, float)
    if not len(x):
        return 1.0
    if len(x) <= EXACT:
        signs = 1 - 2 * ((np.arange(2 ** len(x))[:, None] >> np.arange(len(x))) & 1)
        means = signs @ x
        # Less what sums in another order are apart.
        return float((means >= x.sum() - 1e-9 * np.abs(x).sum()).mean())
    test = stats.permutation_test(
        (x,),
        lambda values, axis: values.mean(axis),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def interval(effects: Sequence[float] | np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The bootstrap interval of 95% of the mean, bias-corrected and accelerated (Efron, 1987).

    So corrected, because effects are often skewed. NaN for fewer than two; without a width where all effects
    are the same.
    """
    x = np.asarray(effects, float)
    if len(x) < 2:
        return math.nan, math.nan
    if np.ptp(x) <= 1e-12 * np.abs(x).max():
        return float(x[0]), float(x[0])
    found = stats.bootstrap(
        (x,), np.mean, n_resamples=resamples, method="BCa", vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm, 1979): each holds for all of them together."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def pairs_needed(finding: Finding, alpha: float = ALPHA) -> int | None:
    """How many pairs a t-test of this effect and spread needs to find it with a power of 0.8.

    None where there are too few to know the spread, or it would take more than 10,000. It is what
    the observed effect would need; the true one may be smaller.
    """
    if finding.pairs < 2 or not finding.room > 0:
        return None
    if finding.spread == 0:
        return least_pairs(alpha)
    size = finding.room / finding.spread
    if _power(size, MOST, alpha) < POWER:
        return None
    low, high = 2, MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(size, middle, alpha) >= POWER else (middle + 1, high)
    return max(low, least_pairs(alpha))


def least_pairs(alpha: float = ALPHA) -> int:
    """The fewest pairs of which the exact test can have such a p-value: 2/2^n."""
    return math.ceil(math.log2(2 / alpha))


def _power(size: float, pairs: int, alpha: float) -> float:
    """Of the paired t-test, on the side of the effect."""
    critical = stats.t.ppf(1 - alpha / 2, pairs - 1)
    return float(stats.nct.sf(critical, pairs - 1, size * math.sqrt(pairs)))
