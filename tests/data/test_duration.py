"""Durations with units."""

import pytest

from jaxlearn.data.duration import steps


@pytest.mark.parametrize(
    "given, expected",
    [
        ("90ep", 900),
        ("500it", 500),
        (7, 7),
        (" 3ep ", 30),
        ("0.25ep", 2),
        ("0.01ep", 1),
        ("1.5ep", 15),
    ],
)
def test_steps(given, expected):
    assert steps(given, 10) == expected


@pytest.mark.parametrize(
    "given",
    ["", "90", "ep", "-1ep", "1.5it", "3 ep", "3epochs", "0ep", "0it", 0, -3, True],
)
def test_other_forms_are_refused_in_one_line(given):
    with pytest.raises(ValueError, match="duration") as caught:
        steps(given, 10)
    assert "\n" not in str(caught.value)


def test_epochs_need_to_know_their_length():
    with pytest.raises(ValueError, match="steps_per_epoch is 0"):
        steps("3ep", 0)
    assert steps("3it", 0) == 3
