"""Calibration metrics against brute force, and at the ends of their ranges."""

import numpy as np
import pytest
from scipy.special import softmax

from jaxlearn.analysis.calibration import aurc, ece, excess_aurc, nll, top_error


def case(seed, n=100, classes=7):
    """Random predictions that are right more often than by chance."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, n)
    logits = draw.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return softmax(logits, 1), labels


def test_a_perfect_confident_classifier_has_no_error_of_any_kind():
    labels = np.arange(10) % 4
    p = np.eye(4)[labels]
    found = [f(p, labels) for f in (nll, ece, aurc, excess_aurc, top_error)]
    assert found == [0.0] * 5


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_brute_force_on_100_points(seed):
    p, labels = case(seed)
    assert nll(p, labels) == pytest.approx(
        -sum(np.log(row[y]) for row, y in zip(p, labels, strict=True)) / 100
    )
    gap = 0.0
    for b in range(10):
        inside = [i for i in range(100) if b / 10 < p[i].max() <= (b + 1) / 10]
        if inside:
            right = np.mean([p[i].argmax() == labels[i] for i in inside])
            gap += len(inside) / 100 * abs(right - np.mean([p[i].max() for i in inside]))
    assert ece(p, labels) == pytest.approx(gap)
    order = sorted(range(100), key=lambda i: -p[i].max())
    wrong = [p[i].argmax() != labels[i] for i in order]
    risks = [sum(wrong[: i + 1]) / (i + 1) for i in range(100)]
    assert aurc(p, labels) == pytest.approx(np.mean(risks))
    m = sum(wrong)
    best = sum(j / (100 - m + j) for j in range(1, m + 1)) / 100
    assert excess_aurc(p, labels) == pytest.approx(np.mean(risks) - best)
    top3 = [
        y in sorted(range(7), key=lambda k: -row[k])[:3] for row, y in zip(p, labels, strict=True)
    ]
    assert top_error(p, labels, 3) == pytest.approx(1 - np.mean(top3))


def test_excess_is_zero_when_all_errors_have_the_lowest_confidences_and_above_it_otherwise():
    p, labels = case(0)
    wrong = p.argmax(1) != labels
    ranked = p.copy()
    ranked[wrong] = np.where(ranked[wrong] == ranked[wrong].max(1, keepdims=True), 0.16, 0.14)
    assert excess_aurc(ranked, labels) == pytest.approx(0, abs=1e-12)
    assert excess_aurc(p, labels) > 0.01


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    p = np.array([[0.8, 0.2], [0.75, 0.25]])
    labels = np.array([0, 1])
    assert ece(p, labels) == pytest.approx(abs(1.55 - 1) / 2)  # both in (0.7, 0.8]


def test_wrong_input_is_refused():
    p, labels = case(0)
    with pytest.raises(ValueError, match="softmax"):
        nll(np.log(p), labels)
    with pytest.raises(ValueError, match="label each"):
        ece(p, labels[:5])
    with pytest.raises(ValueError, match="bins"):
        ece(p, labels, 0)
    with pytest.raises(ValueError, match="k=9"):
        top_error(p, labels, 9)
