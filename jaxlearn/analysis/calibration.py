"""How far a classifier's confidence can be trusted: likelihood, calibration, ranking.

Arrays on the host, computed in float64. `probabilities` is `[examples, classes]`, rows that sum to
1; `labels` int `[examples]`. Confidence is the largest probability of a row.
"""

import numpy as np


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood, `-mean log p_i[y_i]`.

    >>> round(nll(np.array([[0.5, 0.5]]), np.array([1])), 4)
    0.6931
    """
    p, labels = _checked(probabilities, labels)
    chosen = p[np.arange(len(p)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, `sum_b n_b / n |accuracy_b - confidence_b|`.

    Guo et al., ICML 2017, equation 3. Bin b holds the confidences in `(b / bins, (b + 1) / bins]`.

    >>> round(ece(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 4)
    0.3
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    p, labels = _checked(probabilities, labels)
    confidence, correct = p.max(1), p.argmax(1) == labels
    edges = np.arange(1, bins) / bins
    places = np.searchsorted(edges, confidence, side="left")
    gaps = np.bincount(places, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def aurc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Area under the risk-coverage curve, `mean_i (errors among the i most confident) / i`.

    Geifman, Uziel, El-Yaniv, ICLR 2019, section 3. Equal confidences keep their order.

    >>> aurc(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    0.25
    """
    p, labels = _checked(probabilities, labels)
    order = np.argsort(-p.max(1), kind="stable")
    wrong = (p.argmax(1) != labels)[order]
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(p) + 1)))


def excess_aurc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """`AURC - (1 / n) sum_{j = 1..m} j / (n - m + j)` for m errors: 0 if they rank last.

    Geifman, Uziel, El-Yaniv, ICLR 2019, equation 3 in its exact form.

    >>> excess_aurc(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    0.0
    """
    p, labels = _checked(probabilities, labels)
    n, m = len(p), int((p.argmax(1) != labels).sum())
    j = np.arange(1, m + 1)
    return aurc(p, labels) - float((j / (n - m + j)).sum() / n)


def top_error(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """The share of examples whose label is not among the k most probable classes.

    >>> top_error(np.array([[0.5, 0.3, 0.2]]), np.array([1]), 2)
    0.0
    """
    p, labels = _checked(probabilities, labels)
    if not 1 <= k <= p.shape[1]:
        raise ValueError(f"k={k}; it has to lie in 1..{p.shape[1]}, the classes")
    best = np.argsort(-p, 1, kind="stable")[:, :k]
    return float(1 - (best == labels[:, None]).any(1).mean())


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or labels.shape != p.shape[:1] or not len(p):
        raise ValueError(
            f"need probabilities [examples, classes] and a label each: found {p.shape} and "
            f"{labels.shape}"
        )
    if not np.allclose(p.sum(1), 1, atol=1e-3):
        raise ValueError("rows of probabilities have to sum to 1; take the softmax of logits")
    return p, labels
