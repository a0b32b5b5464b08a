"""Arrays out of old pickle files without unpickling them.

A pickle is a program for a stack machine that may call anything by name. This reader walks the
program with `pickletools.genops`, which only decodes it, and carries out the few operations that
arrays, sparse matrices, lists and dicts are written with. Names are never imported: they are inert
labels, and only the handful in `_CALLS` and `_ARRAYS` mean anything. All else is refused by name.
"""

import math
import pickletools
import re
from typing import Any, NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing


class _Name(NamedTuple):
    """A dotted name a pickle mentions; it stands for nothing else than itself."""

    text: str


class _Made:
    """An object under construction: what it is, and its value once a BUILD has given it one."""

    def __init__(self, kind: str, value: Any = None):
        self.kind, self.value = kind, value


_MARK = object()
_NDARRAY = _Name("numpy ndarray")
_LISTS = (_Name("__builtin__ list"), _Name("builtins list"))
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_MATRICES = ("scipy.sparse.csr csr_matrix", "scipy.sparse._csr csr_matrix")
_DTYPE = re.compile(r"[biuf][1248]")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_array_pickle(data: bytes, name: str) -> Any:
    """What a pickle of numpy arrays, scipy CSR matrices, dicts and lists contains.

    Dense arrays come as `np.ndarray`, CSR matrices as `scipy.sparse.csr_matrix`, default dicts as
    dicts, byte strings of Python 2 as str with one character per byte.

    Raises `CorruptData` for a damaged file and for any name or operation outside those, before
    anything was done with it.

    >>> import pickle
    >>> read_array_pickle(pickle.dumps({"a": np.arange(3)}, protocol=2), "file")
    {'a': array([0, 1, 2])}
    """
    with parsing(name):
        machine = _Machine(name)
        for operation, argument, _ in pickletools.genops(data):
            if operation.name == "STOP":
                break
            machine.step(operation.name, argument)
        if len(machine.stack) != 1 or machine.stack[0] is _MARK:
            raise CorruptData(f"{name} leaves {len(machine.stack)} values instead of one")
        return _finished(machine.stack[0], name)


class _Machine:
    """The stack and memo of one pickle program."""

    def __init__(self, name: str):
        self.name, self.stack, self.memo = name, [], {}

    def step(self, operation: str, argument: Any) -> None:
        """Carry out one operation, or refuse it."""
        stack = self.stack
        if operation in _LITERALS:
            stack.append(argument)
        elif operation in _CONSTANTS:
            stack.append(_CONSTANTS[operation])
        elif operation in _TUPLES:
            n = _TUPLES[operation]
            stack.append(tuple(self.pop() for _ in range(n))[::-1])
        elif operation in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if operation == "EMPTY_LIST" else {})
        elif operation == "MARK":
            stack.append(_MARK)
        elif operation not in ("PROTO", "FRAME"):
            method = getattr(self, f"on_{operation.lower()}", None)
            if method is None:
                raise CorruptData(f"{self.name} uses the pickle operation {operation}: refused")
            method(argument)

    def pop(self) -> Any:
        """The topmost value."""
        if not self.stack or self.stack[-1] is _MARK:
            raise CorruptData(f"{self.name} takes a value from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list:
        """The values above the last mark, in order."""
        values = []
        while self.stack and self.stack[-1] is not _MARK:
            values.append(self.stack.pop())
        if not self.stack:
            raise CorruptData(f"{self.name} lacks a mark")
        self.stack.pop()
        return values[::-1]

    def top(self, kind: type) -> Any:
        """The topmost value, left where it is, if it is of that type."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise CorruptData(f"{self.name} fills something that is not a {kind.__name__}")
        return self.stack[-1]

    def fill(self, values: list) -> None:
        """Put keys and values, by turns, into the dict on top."""
        keys = values[::2]
        if not set(map(type, keys)) <= {str, int}:
            raise CorruptData(f"{self.name} has a dict whose keys are not text or integers")
        self.top(dict).update(zip(keys, values[1::2], strict=True))

    def on_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def on_append(self, _: Any) -> None:
        value = self.pop()
        self.top(list).append(value)

    def on_appends(self, _: Any) -> None:
        values = self.pop_to_mark()
        self.top(list).extend(values)

    def on_setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.fill([key, value])

    def on_setitems(self, _: Any) -> None:
        self.fill(self.pop_to_mark())

    def on_binput(self, place: Any) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise CorruptData(f"{self.name} remembers a value of an empty stack")
        self.memo[place] = self.stack[-1]

    on_long_binput = on_binput

    def on_memoize(self, _: Any) -> None:
        self.on_binput(len(self.memo))

    def on_binget(self, place: Any) -> None:
        self.stack.append(self.memo[place])

    on_long_binget = on_binget

    def on_global(self, text: Any) -> None:
        self.stack.append(_allowed(text, self.name))

    def on_stack_global(self, _: Any) -> None:
        attribute, module = self.pop(), self.pop()
        self.stack.append(_allowed(f"{module} {attribute}", self.name))

    def on_reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if (
            type(function) is not _Name
            or function.text not in _CALLS
            or type(arguments) is not tuple
        ):
            raise CorruptData(f"{self.name} calls {_label(function)}: refused")
        self.stack.append(_CALLS[function.text](arguments, self.name))

    def on_newobj(self, _: Any) -> None:
        arguments, kind = self.pop(), self.pop()
        if type(kind) is not _Name or kind.text not in _MATRICES or arguments != ():
            raise CorruptData(f"{self.name} makes {_label(kind)}: refused")
        self.stack.append(_Made("matrix"))

    def on_build(self, _: Any) -> None:
        state = self.pop()
        made = self.top(_Made)
        made.value = _BUILDS[made.kind](made, state, self.name)


def _label(value: Any) -> str:
    """A short text for messages; containers, which may be endless, only by type."""
    if isinstance(value, _Name):
        return value.text[:80]
    return repr(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"


def _allowed(text: str, name: str) -> _Name:
    known = {*_CALLS, *_MATRICES, _NDARRAY.text, *(kind.text for kind in _LISTS)}
    if text not in known:
        raise CorruptData(f"{name} refers to {text[:80]!r}, which data need not: refused")
    return _Name(text)


def _call_reconstruct(arguments: tuple, name: str) -> _Made:
    if arguments[0] != _NDARRAY:
        raise CorruptData(f"{name} makes an array of the type {_label(arguments[0])}: refused")
    return _Made("array")


def _call_dtype(arguments: tuple, name: str) -> _Made:
    if not isinstance(arguments[0], str) or not _DTYPE.fullmatch(arguments[0]):
        raise CorruptData(f"{name} has an array of {_label(arguments[0])}, not of numbers")
    return _Made("dtype", np.dtype(arguments[0]))


def _call_defaultdict(arguments: tuple, name: str) -> dict:
    if len(arguments) != 1 or arguments[0] not in _LISTS:
        raise CorruptData(f"{name} has a default dict that does not make lists: refused")
    return {}


def _call_encode(arguments: tuple, name: str) -> bytes:
    text, codec = arguments
    if codec != "latin1":
        raise CorruptData(f"{name} encodes text as {_label(codec)}, not latin1: refused")
    return text.encode("latin1")


def _call_bytes(arguments: tuple, name: str) -> bytes:
    """Protocol 2 writes the empty byte string as a call without arguments."""
    if arguments:
        raise CorruptData(f"{name} makes bytes out of {_label(arguments[0])}: refused")
    return b""


_CALLS = {
    "__builtin__ bytes": _call_bytes,
    **dict.fromkeys(_RECONSTRUCT, _call_reconstruct),
    "numpy dtype": _call_dtype,
    "collections defaultdict": _call_defaultdict,
    "_codecs encode": _call_encode,
}


def _build_dtype(made: _Made, state: tuple, name: str) -> np.dtype:
    """State (version, byte order, None, None, None, ...): plain numbers have no more."""
    if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise CorruptData(f"{name} has an array of records, not of numbers")
    return made.value.newbyteorder(state[1])


def _build_array(_: _Made, state: tuple, name: str) -> np.ndarray:
    """State (version, shape, dtype, Fortran order, bytes)."""
    _version, shape, dtype, fortran, raw = state
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    kind = dtype.value if type(dtype) is _Made and dtype.kind == "dtype" else None
    sizes = all(type(size) is int and size >= 0 for size in shape)
    if kind is None or type(data) is not bytes or not sizes:
        raise CorruptData(f"{name} has an array without sizes, type and bytes")
    if math.prod(shape) * kind.itemsize != len(data):
        raise CorruptData(f"{name} has an array {shape} of {kind} with {len(data)} bytes")
    array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
    return array.astype(kind.newbyteorder("="))


def _build_matrix(_: _Made, state: dict, name: str) -> Any:
    from scipy.sparse import csr_matrix

    from jaxlearn.data.graphs import csr_parts

    parts = {key: _finished(state[key], name) for key in ("data", "indices", "indptr")}
    shape = np.asarray(state["_shape"])
    csr_parts({**parts, "shape": shape}, "", name)  # refuses parts that do not fit together
    shape = tuple(int(size) for size in shape)
    return csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=shape)


_BUILDS = {"dtype": _build_dtype, "array": _build_array, "matrix": _build_matrix}


def _finished(value: Any, name: str, done: dict | None = None, depth: int = 0) -> Any:
    """The value with every object under construction replaced by what it became.

    `done` keeps results by identity, so that a value referred to many times is walked once.
    """
    done = {} if done is None else done
    if depth > 20:
        raise CorruptData(f"{name} is nested deeper than any data")
    if isinstance(value, _Made):
        if value.kind == "dtype" or value.value is None:
            raise CorruptData(f"{name} has an object that was never given its content")
        return value.value
    if isinstance(value, _Name):
        raise CorruptData(f"{name} contains the name {value.text!r} instead of data")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) not in done:
        if isinstance(value, dict):
            made = {key: _finished(item, name, done, depth + 1) for key, item in value.items()}
        else:
            made = type(value)(_finished(item, name, done, depth + 1) for item in value)
        done[id(value)] = made
    return done[id(value)]
