"""PyTorch files are read, never run. The files here are written as `torch.save` writes them."""

import collections
import io
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from jaxlearn.data import CorruptData
from jaxlearn.data.torch_file import read_torch

TORCH, UTILS = types.ModuleType("torch"), types.ModuleType("torch._utils")
KINDS = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "<u2", "Long": "<i8"}
for name in [*KINDS, "Bool"]:
    kind = type(f"{name}Storage", (), {"__module__": "torch"})
    setattr(TORCH, f"{name}Storage", kind)


def _rebuild_tensor_v2(*_):
    """A name to be pickled."""


_rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
    "torch._utils",
    "_rebuild_tensor_v2",
)
UTILS._rebuild_tensor_v2 = _rebuild_tensor_v2


class Tensor:
    """What the pickle of a tensor says."""

    def __init__(self, kind, key, count, offset, shape, strides):
        self.storage = ("storage", getattr(TORCH, f"{kind}Storage"), key, "cpu", count)
        self.rest = (offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, (Storage(self.storage), *self.rest)


class Storage:
    """Pickled by its identity."""

    def __init__(self, identity):
        self.identity = identity


class Writer(pickle.Pickler):
    """Puts identities in place of storages."""

    def persistent_id(self, obj):
        return obj.identity if isinstance(obj, Storage) else None


def saved(value, storages, program=None, extra=None) -> bytes:
    """A file of these tensors, with another pickle or more entries where given."""
    stream, whole = io.BytesIO(), io.BytesIO()
    if program is None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "torch", TORCH)
            patch.setitem(sys.modules, "torch._utils", UTILS)
            Writer(stream, protocol=2).dump(value)
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("model/data.pkl", stream.getvalue() if program is None else program)
        for key, numbers in storages.items():
            archive.writestr(f"model/data/{key}", numbers.tobytes())
        for entry, raw in (extra or {}).items():
            archive.writestr(entry, raw)
    return whole.getvalue()


@pytest.fixture
def write(tmp_path):
    """`write(value, storages) -> path`."""

    def made(*arguments, **more):
        path = tmp_path / "model.pt"
        path.write_bytes(saved(*arguments, **more))
        return path

    return made


NUMBERS = np.arange(12, dtype=np.float32)


def test_views_of_a_storage_come_back_with_their_shape_and_order(write):
    tensors = collections.OrderedDict(
        whole=Tensor("Float", "0", 12, 0, (3, 4), (4, 1)),
        turned=Tensor("Float", "0", 12, 0, (4, 3), (1, 4)),
        row=Tensor("Float", "0", 12, 4, (4,), (1,)),
        one=Tensor("Float", "0", 12, 7, (), ()),
        none=Tensor("Float", "0", 12, 0, (0, 3), (3, 1)),
    )
    found = read_torch(write(tensors, {"0": NUMBERS}))
    table = NUMBERS.reshape(3, 4)
    np.testing.assert_array_equal(found["whole"], table)
    np.testing.assert_array_equal(found["turned"], table.T)
    np.testing.assert_array_equal(found["row"], table[1])
    assert found["one"] == 7
    assert found["none"].shape == (0, 3)


def test_nested_dicts_get_dotted_names_and_what_is_no_tensor_is_left_out(write):
    value = {"epoch": 3, "best": 0.5, "state": {"w": Tensor("Long", "0", 2, 0, (2,), (1,))}}
    found = read_torch(write(value, {"0": np.array([5, 6])}))
    assert list(found) == ["state.w"]
    assert found["state.w"].tolist() == [5, 6]


@pytest.mark.parametrize("kind", ["Float", "Double", "Half", "Long"])
def test_types_are_kept(write, kind):
    numbers = np.arange(3).astype(KINDS[kind])
    found = read_torch(write({"w": Tensor(kind, "0", 3, 0, (3,), (1,))}, {"0": numbers}))["w"]
    assert found.dtype == numbers.dtype
    np.testing.assert_array_equal(found, numbers)


def test_bfloat16_comes_as_the_float32_of_the_same_value(write):
    values = np.array([1.0, -2.5, 0.15625, 3e38], np.float32)
    cut = (values.view("<u4") >> 16).astype("<u2")
    found = read_torch(write({"w": Tensor("BFloat16", "0", 4, 0, (4,), (1,))}, {"0": cut}))["w"]
    np.testing.assert_array_equal(found, (cut.astype("<u4") << 16).view("<f4"))
    np.testing.assert_allclose(found, values, rtol=2**-7)


class Evil:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


def test_a_file_that_would_run_a_command_is_refused_and_runs_nothing(write, monkeypatch):
    ran, program = [], pickle.dumps({"w": Evil()}, 2)
    monkeypatch.setattr(os, "system", ran.append)
    with pytest.raises(CorruptData, match=r"refers to '.* system'"):
        read_torch(write(None, {}, program))
    assert not ran


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor("Float", "0", 12, 1, (3, 4), (4, 1)), "outside its storage"),
        (Tensor("Float", "0", 12, 0, (10**6, 12), (0, 1)), "outside its storage"),
        (Tensor("Float", "0", 12, -1, (3,), (1,)), "the shape"),
        (Tensor("Float", "0", 12, 0, (3,), (4, 1)), "the shape"),
        (Tensor("Float", "0", 13, 0, (3,), (1,)), "48 bytes for 13"),
        (Tensor("Float", "../0", 12, 0, (3,), (1,)), "storage that is none"),
        (Tensor("Float", "7", 12, 0, (3,), (1,)), "damaged"),
        (Tensor("Float", "0", 12, 0, ("3",), (1,)), "in a way that is refused"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(write, tensor, said):
    with pytest.raises(CorruptData, match=said):
        read_torch(write({"w": tensor}, {"0": NUMBERS}))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"\x80\x02}q\x00.", None),
        (b"\x80\x02cposix\nsystem\n.", "refers to 'posix system'"),
        (b"\x80\x02c__builtin__\neval\n.", "refers to"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "damaged|refused"),
        (b"\x80\x02(i__builtin__\neval\n.", "INST: refused"),
        (b"\x80\x02K\x01K\x02.", "leaves 2 values"),
        (b"\x80\x02u.", "damaged"),
        (b"\x80\x02K\x01K\x02a.", "not a list"),
        (b"", "damaged"),
    ],
)
def test_other_programs_are_refused(write, program, said):
    path = write(None, {}, program)
    if said is None:
        assert read_torch(path) == {}
        return
    with pytest.raises(CorruptData, match=said):
        read_torch(path)


def test_other_archives_are_refused(write, tmp_path):
    tensor = {"w": Tensor("Float", "0", 12, 0, (3,), (1,))}
    with pytest.raises(CorruptData, match="an entry outside itself"):
        read_torch(write(tensor, {"0": NUMBERS}, extra={"../x": b""}))
    with pytest.raises(CorruptData, match="2 entries"):
        read_torch(write(tensor, {"0": NUMBERS}, extra={"b/data.pkl": b""}))
    with pytest.raises(CorruptData, match="byte order"):
        read_torch(write(tensor, {"0": NUMBERS}, extra={"model/byteorder": b"big"}))
    with pytest.raises(CorruptData, match="more bytes than the limit"):
        read_torch(write(tensor, {"0": NUMBERS}), limit=40)
    path = tmp_path / "text.pt"
    path.write_bytes(b"no zip")
    with pytest.raises(CorruptData, match="damaged"):
        read_torch(path)


def test_every_damaged_byte_gives_numbers_or_the_one_error(write):
    whole = bytearray(
        write({"w": Tensor("Float", "0", 12, 0, (3,), (1,))}, {"0": NUMBERS}).read_bytes()
    )
    path, lines, kinds = write({}, {}), [], set()
    for place in range(0, len(whole), 3):
        hurt = whole.copy()
        hurt[place] ^= 0x55
        path.write_bytes(hurt)
        try:
            found = read_torch(path)
        except CorruptData as error:
            lines.append(str(error))
        else:
            kinds |= {*map(type, found.values())}
    assert not [line for line in lines if "\n" in line]
    assert len(lines) > 50
    assert kinds == {np.ndarray}
