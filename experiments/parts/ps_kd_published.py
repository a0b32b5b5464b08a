"""Figures for CIFAR-100 that the authors of PS-KD list in their repository."""

METRICS = ("error", "nll", "ece", "aurc")
_METHODS = ("ce", "smoothing", "cs_kd", "tf_kd", "ps_kd")
# one row per network: error, NLL, ECE x 100, AURC x 1000 of the five methods
_FIGURES = {
    "resnet18": (
        (24.18, 1.10, 11.84, 67.65),
        (20.94, 0.98, 10.79, 57.74),
        (21.30, 0.88, 6.24, 56.56),
        (22.88, 1.05, 11.96, 61.77),
        (20.82, 0.76, 1.77, 52.10),
    ),
    "resnet101": (
        (20.75, 0.89, 10.02, 55.45),
        (19.84, 0.93, 3.43, 95.76),
        (20.76, 1.02, 12.18, 64.44),
        (20.13, 0.84, 6.14, 58.8),
        (19.43, 0.74, 6.92, 49.01),
    ),
    "densenet121": (
        (20.05, 0.82, 7.34, 52.21),
        (19.80, 0.92, 3.76, 91.06),
        (20.47, 1.07, 13.80, 73.37),
        (19.88, 0.85, 7.33, 69.23),
        (18.73, 0.69, 3.71, 45.55),
    ),
    "resnext29": (
        (18.65, 0.74, 4.17, 44.27),
        (17.60, 1.05, 22.14, 41.92),
        (18.26, 0.80, 5.95, 42.11),
        (17.33, 0.74, 6.73, 40.34),
        (17.28, 0.72, 9.18, 40.19),
    ),
    "pyramidnet": (
        (16.80, 0.73, 8.04, 36.95),
        (17.82, 0.89, 3.46, 105.02),
        (18.31, 1.17, 14.70, 70.05),
        (16.48, 0.79, 10.48, 37.04),
        (15.49, 0.56, 1.83, 32.14),
    ),
}
PAPER = {
    (network, method): dict(zip(METRICS, figures, strict=True))
    for network, by_method in _FIGURES.items()
    for method, figures in zip(_METHODS, by_method, strict=True)
}
"""By network and method: error in percent, nats, ECE x 100, AURC x 1000."""
