"""The datasets by name."""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxlearn.data.cifar10 import cifar10
from jaxlearn.data.dataset import Dataset
from jaxlearn.data.digits import digits
from jaxlearn.data.fashion_mnist import fashion_mnist, mnist
from jaxlearn.data.graphs import Graph, amazon_photo, cora_ml
from jaxlearn.data.planetoid import planetoid
from jaxlearn.data.spoken_digits import spoken_digits
from jaxlearn.data.vowels import vowels

READERS: dict[str, Callable[..., Dataset | Graph]] = {
    "amazon_photo": amazon_photo,
    "cifar10": cifar10,
    "citeseer": partial(planetoid, "citeseer"),
    "cora": partial(planetoid, "cora"),
    "cora_ml": cora_ml,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "pubmed": partial(planetoid, "pubmed"),
    "spoken_digits": spoken_digits,
    "vowels": vowels,
}


def names() -> tuple[str, ...]:
    """The names `load` knows, sorted.

    >>> "digits" in names()
    True
    """
    return tuple(sorted(READERS))


def load(name: str, **options: object) -> Any:
    """Read a dataset by name; the options are those of its reader (sizes, seed, variant, ...).

    Raises `ValueError` for an unknown name or option, `MissingData` and `CorruptData` for files.

    >>> load("digits", test=100).test["inputs"].shape
    (100, 8, 8, 1)
    """
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
        raise ValueError(f"unknown dataset {name!r}; {hint}")
    known = inspect.signature(READERS[name]).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    return READERS[name](**options)
