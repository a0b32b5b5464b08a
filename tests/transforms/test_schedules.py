import math

import jax
import numpy as np
import pytest

from jaxlearn.transforms.schedules import blended_cosine, cosine_cycles


def published(e, peak, epochs):
    """The rate of epoch e = 1 …, as published, in double precision."""
    cosine = 0.5 * peak * (1 + math.cos(math.pi * e / epochs))
    return cosine * (e - 1) / 10 + 0.01 * (11 - e) / 10 if e <= 10 else cosine


def test_identity_8_the_rate_of_every_epoch():
    rate = jax.jit(blended_cosine(0.8, 400, 49))
    assert float(rate(0)) == float(np.float32(0.01))
    assert float(rate(10 * 49)) == pytest.approx(0.4 * (1 + math.cos(11 * math.pi / 400)), 1e-6)
    for epoch in range(1, 401):
        for step in (49 * (epoch - 1), 49 * epoch - 1):
            assert float(rate(step)) == pytest.approx(
                published(epoch, 0.8, 400), rel=1e-5, abs=1e-7
            )


def test_no_warmup_is_the_cosine_and_the_end_stays_at_zero():
    rate = blended_cosine(0.1, 4, 2, warmup=0)
    expected = [0.05 * (1 + math.cos(math.pi * e / 4)) for e in (1, 1, 2, 2, 3, 3, 4, 4, 4, 4)]
    np.testing.assert_allclose([float(rate(s)) for s in range(10)], expected, atol=1e-7)


@pytest.mark.parametrize("bad", [(0, 1, 0), (5, 0, 0), (5, 1, 6), (5, 1, -1)])
def test_lengths_out_of_range_are_refused(bad):
    epochs, steps, warmup = bad
    with pytest.raises(ValueError, match="steps_per_epoch of at least 1"):
        blended_cosine(0.1, epochs, steps, warmup=warmup)


def test_cycles_of_mixture_growth_in_double_precision():
    """Four cycles of ten epochs from 1e-4 to 3e-5, halved each time, one epoch of warm-up."""
    rate = jax.jit(cosine_cycles(1e-4, 400, cycles=4, floor=3e-5, warmup=10))
    for step in range(401):
        cycle = min(step // 100, 3)
        top, share = 1e-4 * 0.5**cycle, (step - 100 * cycle) / 100
        want = 3e-5 + (top - 3e-5) * 0.5 * (1 + math.cos(math.pi * share))
        want = 1e-5 + (1e-4 - 1e-5) * step / 10 if step < 10 else want
        assert float(rate(step)) == pytest.approx(want, rel=1e-4), step
    assert float(rate(5000)) == pytest.approx(3e-5)


@pytest.mark.parametrize("bad", [{"cycles": 0}, {"cycles": 11}, {"warmup": 10}, {"warmup": -1}])
def test_cycles_that_do_not_fit_are_refused(bad):
    with pytest.raises(ValueError, match="at least one step per cycle"):
        cosine_cycles(0.1, 10, **bad)
