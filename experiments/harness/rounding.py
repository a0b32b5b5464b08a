"""Figures for people: so many digits as they are worth."""

import math


def number(value: float | int | None) -> str:
    """Spell a figure with four significant digits, whole numbers in full.

    >>> [number(v) for v in (97.25, 0.00012346, 1654.0, 3, 123456.7, None)]
    ['97.25', '0.0001235', '1654', '3', '123457', 'n/a']
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    if isinstance(value, int) or abs(value) >= 1e4:
        return f"{value:.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def with_spread(mean: float | None, std: float | None) -> str:
    """Spell `mean ± std`: the spread with two significant digits, the mean to the same place.

    A spread in the fifth decimal or below leaves the mean with four significant digits, one of 10
    and more leaves both whole.

    >>> with_spread(42.904, 1.0331), with_spread(3.02491, 0.0041534), with_spread(50.0, 0.0)
    ('42.9 ± 1.0', '3.0249 ± 0.0042', '50 ± 0')
    >>> with_spread(4.1333e-06, 2.7531e-07), with_spread(1623.4, 48.1), with_spread(91.0, None)
    ('4.133e-06 ± 2.8e-07', '1623 ± 48', '91 ± n/a')
    """
    if mean is None or not std or not math.isfinite(mean) or not math.isfinite(std):
        return f"{number(mean)} ± {number(std)}"
    places = max(1 - math.floor(math.log10(std)), 0)
    if places > 4:
        return f"{number(mean)} ± {std:.2g}"
    return f"{mean:.{places}f} ± {std:.{places}f}"
