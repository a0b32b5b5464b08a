"""The methods of `tpsgd.py` and their learning rates, chosen on validation data.

With seed 100, those of recurrent networks with seeds 100 to 102: backpropagation through time has
seeds that fall back at rates where others go on.
"""

from jaxlearn.objectives.target_losses import LOSSES

METHODS = ("BP", "FA", "DFA", "DRTP", "tpSGD-l2", "tpSGD-l1", "shallow")
MODES = ("layerwise", "recompute")
"""Layer i learns for all epochs before layer i + 1 begins; layer i + 1 sees the updated layer i."""
EXTRA = (
    "sign-symmetry",
    "sDFA",
    "frozen",
    *(f"tpSGD-{name}" for name in LOSSES),
    *(f"tpSGD-l2-{mode}" for mode in MODES),
)
Rates = tuple[float, float, float]
"""Of the readout, of dense or recurrent hidden layers, and of convolutions."""
RATES: dict[str, dict[str, Rates]] = {
    "mlp": {
        "BP": (0.1, 0.1, 0),
        "FA": (0.2, 0.2, 0),
        "DFA": (0.1, 0.1, 0),
        "DRTP": (0.2, 0.1, 0),
        "tpSGD-l2": (0.2, 0.01, 0),
        "tpSGD-l1": (0.1, 0.003, 0),
        "shallow": (0.5, 0, 0),
    },
    "cnn": {
        "BP": (0.2, 0.2, 0.2),
        "FA": (0.2, 0.2, 0.2),
        "DFA": (0.1, 0.03, 0.03),
        "DRTP": (0.1, 0.03, 0.03),
        "tpSGD-l2": (0.1, 0.03, 1e-5),
        "tpSGD-l1": (0.1, 0.003, 1e-5),
        "shallow": (0.5, 0, 0),
    },
    "rnn": {
        "BP": (0.4, 0.01, 0),
        "FA": (0.4, 0.005, 0),
        "DFA": (0.4, 0.001, 0),
        "DRTP": (0.4, 0.1, 0),
        "tpSGD-l2": (0.4, 0.001, 0),
        "tpSGD-l1": (0.4, 0.001, 0),
        "shallow": (0.4, 0, 0),
    },
    "adaptor": {
        "BP": (0.1, 0.1, 0),
        "DRTP": (0.1, 0.1, 0),
        "tpSGD-l2": (0.1, 0.03, 0),
        "shallow": (0.5, 0, 0),
    },
}
"""By kind of network and method."""


LIKE = {"sign-symmetry": "FA", "sDFA": "DFA", "FA": "BP", "DFA": "DRTP"}
"""Whose rates a method has where none were chosen for it: those of its nearest relative."""


def rates_of(method: str, kind: str) -> Rates:
    """The chosen rates, else those of a relative; target losses have those of tpSGD with l2.

    Example:
        >>> rates_of("tpSGD-huber", "mlp"), rates_of("sign-symmetry", "cnn")
        ((0.2, 0.01, 0), (0.2, 0.2, 0.2))
    """
    while method not in RATES[kind]:
        method = LIKE.get(method, "tpSGD-l2")
    return RATES[kind][method]
