"""Tensors out of PyTorch files, of which nothing is executed.

Such a file (since PyTorch 1.6) is a zip: `NAME/data.pkl`, a pickle that says which tensors there
are, and `NAME/data/0`, `NAME/data/1`, ..., their numbers as they lie in memory. A pickle is a
program for a stack machine that may call anything by name. Here it is only decoded
(`pickletools.genops`), and of its operations those are carried out that dicts of tensors need.
Names are inert labels: nothing is imported or called because a file says so, and a name outside the
few known ones is refused before anything was done with it.
"""

import math
import pickletools
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing

_LIMIT = 1 << 34
_STORAGES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_DICT = "collections OrderedDict"
_KNOWN = {*_STORAGES, _TENSOR, _PARAMETER, _DICT}
_LITERALS = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SHORT_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class _Name(NamedTuple):
    """A dotted name that the pickle mentions; it stands for nothing else than itself."""

    text: str


class _Storage(NamedTuple):
    """A stretch of numbers in a file of its own."""

    key: str
    kind: str
    count: int


class _Tensor(NamedTuple):
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(path: Path, limit: int = _LIMIT) -> dict[str, np.ndarray]:
    """All tensors of a file by name; those of dicts within dicts are called `outer.inner`.

    `torch.save(model.state_dict(), path)` writes such files. Numbers, texts and `None` beside the
    tensors are left out. bfloat16 comes as float32, which holds the same numbers.

    Args:
        path: of the file.
        limit: bytes of all tensors together.

    Raises:
        CorruptData: for anything else than a zip of tensors: a damaged file, an entry that climbs
            out of it, a view outside its storage, tensors of other types, and every operation or
            name that a dict of tensors does not need.
    """
    with parsing(path.name), zipfile.ZipFile(path) as archive:
        entries = archive.namelist()
        for entry in entries:
            if entry.startswith("/") or ".." in PurePosixPath(entry.replace("\\", "/")).parts:
                raise CorruptData(f"{path.name} has an entry outside itself: {entry!r}")
        programs = [entry for entry in entries if PurePosixPath(entry).name == "data.pkl"]
        if len(programs) != 1:
            raise CorruptData(f"{path.name} has {len(programs)} entries data.pkl, expected one")
        root = programs[0].removesuffix("data.pkl")
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
            raise CorruptData(f"{path.name} was written in another byte order than little-endian")
        if archive.getinfo(programs[0]).file_size > 1 << 26:
            raise CorruptData(f"{path.name} has a pickle over {1 << 26} bytes")
        tensors = _flat(_run(archive.read(programs[0]), path.name), path.name)
        storages: dict[str, np.ndarray] = {}
        for tensor in tensors.values():
            key = tensor.storage.key
            if key not in storages:
                info = archive.getinfo(f"{root}data/{key}")
                limit -= info.file_size
                if limit < 0:
                    raise CorruptData(f"{path.name} holds more bytes than the limit")
                storages[key] = _numbers(archive.read(info), tensor.storage, path.name)
            elif storages[key].size != tensor.storage.count:
                raise CorruptData(f"{path.name} says two sizes of the storage {key!r}")
        return {
            name: _view(storages[tensor.storage.key], tensor, f"{path.name}: {name}")
            for name, tensor in tensors.items()
        }


def _numbers(raw: bytes, storage: _Storage, name: str) -> np.ndarray:
    half = storage.kind == "bfloat16"
    dtype = np.dtype("<u2" if half else storage.kind)
    if len(raw) != storage.count * dtype.itemsize:
        raise CorruptData(f"{name}: {len(raw)} bytes for {storage.count} of {storage.kind}")
    found = np.frombuffer(raw, dtype)
    # the upper half of a float32 is a bfloat16
    return (found.astype("<u4") << 16).view("<f4") if half else found


def _view(numbers: np.ndarray, tensor: _Tensor, name: str) -> np.ndarray:
    """The tensor as an array of its own, its bounds checked first."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((*shape, *strides, tensor.offset), default=0) < 0:
        raise CorruptData(f"{name} has the shape {shape} and the strides {strides}")
    empty = 0 in shape
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    # a stride of 0 repeats numbers: it may not make more of them than are there
    if not empty and (last >= numbers.size or math.prod(shape) > numbers.size):
        raise CorruptData(f"{name} lies outside its storage")
    if empty:
        return np.zeros(shape, numbers.dtype)
    size = numbers.dtype.itemsize
    steps = tuple(stride * size for stride in strides)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], shape, steps).copy()


def _run(program: bytes, name: str) -> Any:
    """What the pickle leaves on its stack."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(program):
        if operation.name == "STOP":
            break
        _step(operation.name, argument, stack, memo, name)
    if len(stack) != 1:
        raise CorruptData(f"{name} leaves {len(stack)} values instead of one")
    return stack[0]


def _step(operation: str, argument: Any, stack: list, memo: dict, name: str) -> None:
    """Carry out one operation, or refuse it."""
    if operation in _LITERALS:
        stack.append(argument)
    elif operation in _CONSTANTS:
        stack.append(_CONSTANTS[operation])
    elif operation in _SHORT_TUPLES:
        stack.append(tuple(_popped(stack, _SHORT_TUPLES[operation])))
    elif operation in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if operation == "EMPTY_DICT" else [])
    elif operation == "MARK":
        stack.append(_MARK)
    elif operation == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif operation in ("APPEND", "APPENDS"):
        values = _popped(stack, 1) if operation == "APPEND" else _to_mark(stack)
        _top(stack, list, name).extend(values)
    elif operation in ("SETITEM", "SETITEMS"):
        pairs = _popped(stack, 2) if operation == "SETITEM" else _to_mark(stack)
        if not {*map(type, pairs[::2])} <= {str, int}:
            raise CorruptData(f"{name} has a dict whose keys are not text or integers")
        _top(stack, dict, name).update(zip(pairs[::2], pairs[1::2], strict=True))
    elif operation in ("BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif operation == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif operation in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif operation == "GLOBAL":
        stack.append(_name(argument, name))
    elif operation == "STACK_GLOBAL":
        stack.append(_name(" ".join(_popped(stack, 2)), name))
    elif operation == "BINPERSID":
        stack.append(_storage(_popped(stack, 1)[0], name))
    elif operation == "REDUCE":
        function, arguments = _popped(stack, 2)
        stack.append(_made(function, arguments, name))
    elif operation == "BUILD":
        # attributes of the dict, such as the versions of a state dict: not tensors
        _popped(stack, 1)
        _top(stack, dict, name)
    elif operation not in ("PROTO", "FRAME"):
        raise CorruptData(f"{name} uses the pickle operation {operation}: refused")


def _popped(stack: list, count: int) -> list:
    """The topmost values in the order in which they were pushed."""
    if count == 0:
        return []
    values = stack[-count:]
    if len(values) < count or any(value is _MARK for value in values):
        raise ValueError("a value is taken from an empty stack")
    del stack[-count:]
    return values


def _to_mark(stack: list) -> list:
    place = next(i for i in reversed(range(len(stack))) if stack[i] is _MARK)
    values = stack[place + 1 :]
    del stack[place:]
    return values


def _top(stack: list, kind: type, name: str) -> Any:
    if not stack or type(stack[-1]) is not kind:
        raise CorruptData(f"{name} fills something that is not a {kind.__name__}")
    return stack[-1]


def _name(text: str, name: str) -> _Name:
    if text not in _KNOWN:
        raise CorruptData(f"{name} refers to {text[:80]!r}, which tensors need not: refused")
    return _Name(text)


def _storage(identity: Any, name: str) -> _Storage:
    """`("storage", type, key, device, count)`."""
    word, kind, key, _, count = identity
    whole = word == "storage" and isinstance(kind, _Name) and kind.text in _STORAGES
    if not whole or type(key) is not str or not key.isdecimal() or type(count) is not int:
        raise CorruptData(f"{name} has a storage that is none: refused")
    return _Storage(key, _STORAGES[kind.text], count)


def _made(function: Any, arguments: Any, name: str) -> Any:
    """What the only three known calls stand for."""
    text = function.text if isinstance(function, _Name) else None
    if text == _DICT and arguments == ():
        return {}
    if text == _PARAMETER and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if text == _TENSOR and isinstance(arguments[0], _Storage):
        storage, offset, shape, strides = arguments[:4]
        numbers = (offset, *shape, *strides)
        if all(type(number) is int for number in numbers):
            return _Tensor(storage, offset, tuple(shape), tuple(strides))
    raise CorruptData(f"{name} calls {text or type(function).__name__!r} in a way that is refused")


def _flat(value: Any, name: str, prefix: str = "", depth: int = 0) -> dict[str, _Tensor]:
    """The tensors of dicts and lists within each other, by dotted names."""
    if depth > 20:
        raise CorruptData(f"{name} is nested deeper than any weights")
    if isinstance(value, _Tensor):
        return {prefix: value}
    items: Any = ()
    if type(value) is dict:
        items = value.items()
    elif type(value) in (list, tuple):
        items = enumerate(value)
    found: dict[str, _Tensor] = {}
    for key, item in items:
        found |= _flat(item, name, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    return found
