"""Retrieval scores against brute force."""

import numpy as np
import pytest

from jaxlearn.analysis.retrieval import retrieval


def brute(queries, gallery, labels, others, itself):
    """CMC 1 and 5 and mAP, query by query and match by match."""
    hits, averages = {1: [], 5: []}, []
    for i, (x, label) in enumerate(zip(queries, labels, strict=True)):
        ranked = sorted(
            (j for j in range(len(gallery)) if not (itself and i == j)),
            key=lambda j: -float(np.dot(x, gallery[j])),
        )
        right = [others[j] == label for j in ranked]
        if not any(right):
            continue
        for k in hits:
            hits[k].append(any(right[:k]))
        places = [rank for rank, hit in enumerate(right, 1) if hit]
        averages.append(np.mean([(m + 1) / rank for m, rank in enumerate(places)]))
    return {"cmc_1": np.mean(hits[1]), "cmc_5": np.mean(hits[5]), "map": np.mean(averages)}


@pytest.mark.parametrize("block", [7, 64])
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_brute_force_on_50_points_without_themselves(seed, block):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 5, 50)
    labels[7] = 9  # a class of one: nothing to find
    x = draw.normal(size=(50, 6)) + np.eye(6)[labels % 6]
    found = retrieval(x, x, labels, labels, block=block)
    assert found == pytest.approx(brute(x, x, labels, labels, True), abs=1e-6)


def test_a_longer_query_meets_a_gallery_with_its_first_dimensions():
    draw = np.random.default_rng(1)
    labels, others = draw.integers(0, 3, 20), draw.integers(0, 3, 30)
    new, old = draw.normal(size=(20, 8)), draw.normal(size=(30, 5))
    found = retrieval(new, old, labels, others, itself=False)
    assert found == pytest.approx(brute(new[:, :5], old, labels, others, False), abs=1e-6)


def test_a_perfect_embedding_has_precision_1_and_one_that_is_its_opposite_little():
    labels = np.arange(40) % 4
    x = np.eye(4)[labels] + 0.01 * np.random.default_rng(0).normal(size=(40, 4))
    assert retrieval(x, x, labels, labels)["map"] == 1.0
    worst = retrieval(x, -x, labels, labels)
    assert worst["map"] < 0.25
    assert worst["cmc_5"] == 0


def test_what_cannot_be_ranked_is_refused():
    x, y = np.eye(4), np.arange(4)
    with pytest.raises(ValueError, match="label each"):
        retrieval(x, x, y[:3], y)
    with pytest.raises(ValueError, match="itself"):
        retrieval(x, x[:3], y, y[:3])
    with pytest.raises(ValueError, match="no query"):
        retrieval(x, x, y, y)
