"""Binary exercises against Python's integers."""

import numpy as np
import pytest

from jaxlearn.data.binary_arithmetic import PAD, PLUS, TIMES, arithmetic, wrong


def value(places):
    """The number that rows of symbols stand for, lowest digit first, padding skipped."""
    digits = [int(place) - 1 for place in places if place != PAD]
    return sum(digit << i for i, digit in enumerate(digits)), len(digits)


@pytest.mark.parametrize(("operation", "sign", "count"), [("*", TIMES, 80), ("+", PLUS, 41)])
def test_results_are_pythons_even_for_forty_digits(operation, sign, count):
    batch = arithmetic(operation, 40, 6, length=90, seed=1)(3)
    for exercise, answer in zip(batch["inputs"], batch["labels"], strict=True):
        assert exercise[40] == sign
        assert not exercise[81:].any()
        (a, n), (b, m) = value(exercise[:40]), value(exercise[41:81])
        assert (n, m) == (40, 40)
        assert value(answer) == (a * b if operation == "*" else a + b, count)
        assert not answer[count:].any()


def test_batches_depend_on_seed_and_step_alone_and_follow_the_curriculum():
    data = arithmetic("*", lambda step: 1 + step // 2, 50, length=9, seed=0)
    np.testing.assert_array_equal(data(5)["inputs"], data(5)["inputs"])
    assert not np.array_equal(data(4)["inputs"], data(5)["inputs"])
    assert [int((data(step)["labels"][0] != PAD).sum()) for step in (0, 2, 4)] == [2, 4, 6]
    digits = arithmetic("*", 4, 500, length=9, seed=0)(0)["inputs"][:, :4]
    assert abs(digits.mean() - 1.5) < 0.05
    with pytest.raises(ValueError, match="numbers of 5 digits need"):
        data(8)


def test_wrong_counts_answers_and_digits():
    labels = np.array([[1, 2, 0], [1, 1, 0]])
    logits = np.eye(3)[np.array([[1, 2, 0], [1, 2, 1]])]
    assert wrong(logits, labels) == {"sequences": 50.0, "digits": 25.0}


def test_wrong_words_are_refused():
    with pytest.raises(ValueError, match="unknown operation '-'"):
        arithmetic("-", 2, 1, length=5, seed=0)
    with pytest.raises(ValueError, match="batch_size"):
        arithmetic("+", 2, 0, length=5, seed=0)
