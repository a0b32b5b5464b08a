"""The two errors of this package, and the guard that turns a parser's failure into one of them."""

from collections.abc import Iterator
from contextlib import contextmanager


class MissingData(ValueError):
    """A dataset file is neither here nor obtainable; the one line says where to put it."""


class CorruptData(ValueError):
    """A dataset file is here but is not what it should be; the one line says what was found."""


def one_line(error: BaseException) -> str:
    """The first line of an error's text (its type name if it has none), at most 160 characters.

    >>> one_line(ValueError("first\\nsecond"))
    'first'
    """
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


@contextmanager
def parsing(name: str) -> Iterator[None]:
    """Run a parser of foreign bytes; whatever it fails with becomes `CorruptData` naming the file.

    Only around code whose one input is the file: there every failure, of whatever library and type,
    *is* a damaged file.

    >>> with parsing("a.idx"):
    ...     raise EOFError("ends early")
    Traceback (most recent call last):
        ...
    jaxlearn.data.errors.CorruptData: a.idx is damaged: ends early; replace the file
    """
    try:
        yield
    except (CorruptData, MissingData):
        raise
    except Exception as error:
        raise CorruptData(f"{name} is damaged: {one_line(error)}; replace the file") from error
