from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.transforms.sparsity.schedules import constant, cosine, cubic, one_shot, window


def test_identity_2_cubic_values():
    schedule = cubic(window(0, 100, 10), 0.5, 0.05)
    sparsity = [1 - density for density in schedule.densities()]
    assert (sparsity[0], sparsity[10]) == (0.5, 0.95)
    np.testing.assert_allclose(
        [sparsity[k] for k in (1, 5, 9)], [0.62195, 0.89375, 0.94955], atol=1e-6
    )


def test_code_parity_stops_one_event_early():
    schedule = cubic(window(0, 28, 1), 0.5, 0.1, code_parity=True)
    assert len(schedule.densities()) == 28
    assert schedule.densities()[-1] - 0.1 == pytest.approx(0.4 / 28**3)
    assert int(schedule.event(jnp.int32(28))) == 27


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_density_falls_and_ends_at_the_target(power):
    densities = cubic(window(7, 65, 6), 0.8, 0.1, power=power).densities()
    assert densities[0] == pytest.approx(0.8)
    assert densities[-1] == 0.1
    assert all(a > b for a, b in pairwise(densities))


def test_one_shot_has_one_event_and_stays_at_its_density():
    schedule = one_shot(5, 0.2)
    assert [c for c in range(1, 21) if schedule.window.due(c)] == [5]
    density = [schedule.densities()[int(schedule.event(jnp.int32(c)))] for c in (4, 5, 6, 50)]
    assert density == [1.0, 0.2, 0.2, 0.2]


def test_equal_densities_are_a_constant_schedule():
    assert set(cubic(window(0, 50, 10), 0.3, 0.3).densities()) == {0.3}


def test_event_counts_intervals_and_stays_at_the_last():
    schedule = cubic(window(20, 60, 10), 1.0, 0.1)
    counts = [10, 20, 29, 30, 60, 90]
    assert [int(schedule.event(jnp.int32(c))) for c in counts] == [0, 0, 0, 1, 4, 4]
    assert len(schedule.densities()) == 5


def test_cosine_runs_from_start_to_end_and_stays():
    rate = cosine(0.5, 0.005, 100)
    found = [float(rate(jnp.int32(c))) for c in (0, 50, 100, 150)]
    np.testing.assert_allclose(found, [0.5, 0.2525, 0.005, 0.005], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: window(0, 10, 0), "interval must be at least 1 step, found 0"),
        (lambda: window(0, 5, 10), "no event between start=0 and stop=5 with interval=10"),
        (lambda: window(10, 5, 1), "no event between start=10 and stop=5"),
        (lambda: cubic(window(0, 5, 1), 0.1, 0.5), "densities must be 0 < final <= initial <= 1"),
        (lambda: cubic(window(0, 5, 1), 0.1, 0.0), "found final=0.0, initial=0.1"),
        (lambda: cosine(0.1, 0.5, 10), "rates must be 0 <= final <= initial <= 1"),
        (lambda: cosine(0.5, 0.1, 0), "at least 1 step"),
        (lambda: constant(1.5), "a rate is a share between 0 and 1, found 1.5"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
