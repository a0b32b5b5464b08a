"""The datasets by name."""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxlearn.data.babi import TASKS, babi
from jaxlearn.data.cifar10 import cifar10
from jaxlearn.data.cifar100 import cifar100
from jaxlearn.data.digits import digits
from jaxlearn.data.event_cameras import cifar10_dvs, dvs_gesture, n_mnist
from jaxlearn.data.fashion_mnist import fashion_mnist, mnist
from jaxlearn.data.graphs import amazon_photo, cora_ml
from jaxlearn.data.imagenet import imagenet
from jaxlearn.data.movie_reviews import movie_reviews
from jaxlearn.data.plain_text import enwik8, tiny_shakespeare
from jaxlearn.data.planetoid import planetoid
from jaxlearn.data.speech_commands import speech_commands
from jaxlearn.data.spiking_heidelberg import shd, ssc
from jaxlearn.data.spoken_digits import spoken_digits
from jaxlearn.data.sst2 import sst2
from jaxlearn.data.sst5 import sst5
from jaxlearn.data.subjectivity import subjectivity
from jaxlearn.data.uci import CLASSIFICATION, REGRESSION, uci_classification, uci_regression
from jaxlearn.data.vowels import vowels

READERS: dict[str, Callable[..., Any]] = {
    "amazon_photo": amazon_photo,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar10_dvs": cifar10_dvs,
    "citeseer": partial(planetoid, "citeseer"),
    "cora": partial(planetoid, "cora"),
    "cora_ml": cora_ml,
    "digits": digits,
    "dvs_gesture": dvs_gesture,
    "enwik8": enwik8,
    "fashion_mnist": fashion_mnist,
    "imagenet": imagenet,
    "mnist": mnist,
    "movie_reviews": movie_reviews,
    "n_mnist": n_mnist,
    "pubmed": partial(planetoid, "pubmed"),
    "shd": shd,
    "speech_commands": speech_commands,
    "spoken_digits": spoken_digits,
    "ssc": ssc,
    "sst2": sst2,
    "sst5": sst5,
    "subjectivity": subjectivity,
    "tiny_shakespeare": tiny_shakespeare,
    "vowels": vowels,
    **{f"babi_{task}": partial(babi, task) for task in range(1, len(TASKS) + 1)},
    **{f"uci_{name}": partial(uci_regression, name) for name in REGRESSION},
    **{f"uci_{name}": partial(uci_classification, name) for name in CLASSIFICATION},
}
"""What reads each: to a `Dataset`, a `Graph`, a `Corpus`, for `babi_N` a `Babi`, for `uci_NAME` a
`Table`."""


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
