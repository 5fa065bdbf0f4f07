"""Fits of a calibration on samples whose distribution is known: never lighter than the truth, seldom far heavier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rocassay.harness.calibration.draws import LEAST_SEEDS
from rocassay.harness.calibration.moments import moments, most_often, rare_mean
from rocassay.harness.calibration.samples import MOST_SKEW
from rocassay.harness.calibration.tails import Tail, tail
from rocassay.harness.gates.whitened import MAX_Z, WORST_ROW_T

REPEATS = 60
ELEMENTS, ROWS, COLUMNS = 1024, 64, 512
RARE = 1e-6

Sampler = Callable[[np.random.Generator], Any]


def samples(draw: Sampler) -> list[Any]:
    generator = np.random.default_rng(7)
    return [draw(generator) for _ in range(REPEATS)]


def exceeding(draw: Sampler, limit: float) -> np.ndarray[Any, Any]:
    """Estimated probabilities to exceed the limit, of many samples."""
    return np.array([tail(sample).above(limit) for sample in samples(draw)])


def largest_z(generator: np.random.Generator) -> Any:
    return np.abs(generator.standard_normal((LEAST_SEEDS, ELEMENTS))).max(axis=1)


def worst_row(generator: np.random.Generator) -> Any:
    mean_square = generator.chisquare(COLUMNS, (LEAST_SEEDS, ROWS)) / COLUMNS
    return ((mean_square - 1) / np.sqrt(2 / COLUMNS)).max(axis=1)


def of(distribution: Any) -> Sampler:
    return lambda generator: distribution.rvs(size=LEAST_SEEDS, random_state=generator)


GUMBEL, NORMAL, UNIFORM = stats.gumbel_r(), stats.norm(), stats.uniform()
FRECHET = stats.genextreme(-0.25)


def test_moments_are_scipy_s():
    sample = stats.gamma(3).rvs(size=500, random_state=np.random.default_rng(1))
    found = moments(sample)
    assert (found.n, found.least, found.most) == (500, sample.min(), sample.max())
    assert [found.mean, found.sd] == pytest.approx([sample.mean(), sample.std(ddof=1)])
    assert [found.skew, found.kurtosis] == pytest.approx([stats.skew(sample), stats.kurtosis(sample)])
    assert found == moments(sample[::-1])


def test_a_constant_sample_has_no_tail_but_its_value():
    found, fitted = moments([0.1] * 300), tail([0.1] * 300)
    assert (found.skew, found.kurtosis, fitted.scale) == (0, 0, 0)
    assert (fitted.above(0.05), fitted.above(0.2)) == (1, 0)


@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_the_bound_of_a_probability_is_clopper_and_pearson_s(count: int):
    wanted = 1.0 if count == LEAST_SEEDS else stats.beta.ppf(0.95, count + 1, LEAST_SEEDS - count)
    assert most_often(count, LEAST_SEEDS) == pytest.approx(wanted)


def test_the_largest_of_normal_errors_exceeds_its_limit_less_often_than_estimated():
    truth = ELEMENTS * 2 * NORMAL.sf(MAX_Z)
    found = exceeding(largest_z, MAX_Z)
    assert found.min() > truth
    assert np.median(found) < RARE


def test_the_worst_row_exceeds_its_limit_less_often_than_estimated():
    truth = ROWS * stats.chi2(COLUMNS).sf(COLUMNS * (1 + WORST_ROW_T * np.sqrt(2 / COLUMNS)))
    found = exceeding(worst_row, WORST_ROW_T)
    assert found.min() > truth
    assert found.max() < RARE


@pytest.mark.parametrize(("distribution", "limit"), [(GUMBEL, 8.0), (GUMBEL, 12.0), (FRECHET, 15.0)])
def test_a_tail_that_is_as_heavy_as_it_looks_is_estimated_without_bias_towards_safety(distribution: Any, limit: float):
    found, truth = exceeding(of(distribution), limit), float(distribution.sf(limit))
    assert found.mean() > truth / 2
    assert truth / 4 < np.median(found) < truth * 4


def test_a_tail_heavier_than_gumbel_s_is_seen():
    shapes = [tail(sample).shape for sample in samples(of(FRECHET))]
    assert np.mean([shape > 0 for shape in shapes]) > 0.9
    assert np.mean([tail(sample).shape > 0 for sample in samples(of(GUMBEL))]) < 0.2
    assert not any(tail(sample).shape for sample in samples(of(UNIFORM)))


def test_a_power_tail_is_scipy_s():
    location, scale, shape = 2.0, 0.7, 0.2
    fitted, wanted = Tail(1000, location, scale, shape), stats.genextreme(-shape, location, scale)
    assert [fitted.above(limit) for limit in (-5.0, 3.0, 20.0)] == pytest.approx(
        [wanted.sf(limit) for limit in (-5.0, 3.0, 20.0)]
    )
    assert fitted.rare(RARE) > wanted.isf(RARE)


@pytest.mark.parametrize("distribution", [NORMAL, UNIFORM, stats.gamma(20)], ids=["normal", "uniform", "gamma"])
def test_a_limit_of_a_mean_is_exceeded_no_more_often_than_stated(distribution: Any):
    alphas = np.array([distribution.sf(rare_mean(moments(sample), RARE)) for sample in samples(of(distribution))])
    assert (alphas > RARE).mean() < 0.1
    assert alphas.mean() < RARE


def test_a_limit_without_regard_to_skewness_would_be_exceeded_too_often():
    """Why mean + z sd is not enough: of the samples that the rule on skewness lets pass, most would lie."""
    gumbels = [found for sample in samples(of(GUMBEL)) if (found := moments(sample)).skew <= MOST_SKEW]
    z = NORMAL.isf(RARE)
    assert np.mean([GUMBEL.sf(found.mean + z * found.sd) for found in gumbels]) > 100 * RARE


def test_a_limit_of_a_maximum_is_exceeded_no_more_often_than_stated():
    alphas = np.array([GUMBEL.sf(tail(sample).rare(RARE)) for sample in samples(of(GUMBEL))])
    assert (alphas > RARE).mean() < 0.15
    assert alphas.mean() < RARE
