"""How a total density is shared between the layers, and the exact counts that follow."""

import math
from collections.abc import Callable, Sequence

Shape = tuple[int, ...]
Distribution = Callable[[Sequence[Shape], float], list[float]]
"""`distribution(shapes, density)`: a density per leaf with `sum density_l n_l = density * N`."""


def uniform(shapes: Sequence[Shape], density: float) -> list[float]:
    """The same density for every leaf."""
    _check(density)
    return [density for _ in shapes]


def erdos_renyi(shapes: Sequence[Shape], density: float) -> list[float]:
    """`density_l ~ (in + out) / (in * out)` (Mocanu et al., Nature Communications 2018, eq. 1).

    Takes the last two dimensions and leaves the size of a filter's window out.
    """
    ends = [shape[-2:] for shape in shapes]
    return _shared(shapes, density, [sum(end) / math.prod(end) for end in ends])


def erdos_renyi_kernel(shapes: Sequence[Shape], density: float) -> list[float]:
    """`density_l = eps * (sum of dims_l) / (product of dims_l)`, the ERK of RigL.

    Evci et al., ICML 2020, section 3. `eps` is such that the total is exact; a leaf whose density
    would pass 1 is dense and the others share what is left.

    Example:
        >>> lenet = [(784, 300), (300, 100), (100, 10)]
        >>> [round(d, 6) for d in erdos_renyi_kernel(lenet, 0.1)]
        [0.079568, 0.230189, 1.0]
    """
    return _shared(shapes, density, [sum(shape) / math.prod(shape) for shape in shapes])


def proportional_to(weights: Sequence[float]) -> Distribution:
    """`density_l = eps * weights_l`, one weight per leaf: a distribution of your own.

    As with Erdos-Renyi, the total is exact and leaves that would pass 1 are dense.

    Raises:
        ValueError: when a weight is not positive; on use, when there are more or fewer than leaves.

    Example:
        >>> proportional_to([1.0, 3.0])([(10, 10), (10, 10)], 0.5)
        [0.25, 0.75]
    """
    if min(weights, default=0.0) <= 0:
        raise ValueError(f"the weights of a distribution have to be positive, found {weights}")

    def distribution(shapes: Sequence[Shape], density: float) -> list[float]:
        if len(shapes) != len(weights):
            raise ValueError(f"{len(weights)} weights for {len(shapes)} prunable leaves {shapes}")
        return _shared(shapes, density, list(weights))

    return distribution


DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": uniform,
    "er": erdos_renyi,
    "erk": erdos_renyi_kernel,
}


def named(distribution: str | Distribution) -> Distribution:
    """The distribution of that name; a function passes as it is.

    Raises:
        ValueError: for an unknown name.
    """
    if callable(distribution):
        return distribution
    if distribution not in DISTRIBUTIONS:
        raise ValueError(
            f"unknown distribution {distribution!r}, expected one of {sorted(DISTRIBUTIONS)}"
        )
    return DISTRIBUTIONS[distribution]


def budget(size: int, density: float) -> int:
    """`floor(size * density)`, where a product that is whole but for rounding counts as whole.

    Example:
        >>> budget(100, 0.29), math.floor(100 * 0.29)
        (29, 28)
    """
    return math.floor(size * density + 1e-6)


def counts(sizes: Sequence[int], densities: Sequence[float]) -> list[int]:
    """Active weights per leaf, whole numbers whose sum is `floor(sum density_l n_l)`.

    Every leaf gets the floor of its share, and the leaves with the largest remainders one more.

    Example:
        >>> counts([5, 5, 5], [0.5, 0.5, 0.5])
        [3, 2, 2]
    """
    shares = [size * density for size, density in zip(sizes, densities, strict=True)]
    whole = [math.floor(share) for share in shares]
    missing = budget(1, sum(shares)) - sum(whole)
    remainders = sorted(range(len(sizes)), key=lambda i: whole[i] - shares[i])
    for i in remainders[:missing]:
        whole[i] += 1
    return whole


def _check(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, found {density}")


def _shared(shapes: Sequence[Shape], density: float, raws: Sequence[float]) -> list[float]:
    _check(density)
    sizes = [math.prod(shape) for shape in shapes]
    free, wanted = set(range(len(shapes))), density * sum(sizes)
    while free:
        left = wanted - sum(size for i, size in enumerate(sizes) if i not in free)
        eps = left / sum(raws[i] * sizes[i] for i in free)
        largest = max(raws[i] for i in free)
        if eps * largest <= 1:
            break
        free -= {i for i in free if raws[i] == largest}
    return [eps * raws[i] if i in free else 1.0 for i in range(len(shapes))]
