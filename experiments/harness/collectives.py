"""What devices say to each other in a compiled program, read from its text."""

import re

NAMES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")


def count(hlo: str) -> dict[str, int]:
    """Count the collectives of optimized HLO; an asynchronous pair counts once.

    >>> count("%a = f32[2] all-reduce-start(%x)\\n%b = f32[2] all-reduce-done(%a)")["all-reduce"]
    1
    """
    names = [name for _, name, _ in _found(hlo)]
    return {name: names.count(name) for name in NAMES}


def sizes(hlo: str) -> dict[str, int]:
    """Bytes that the collectives of optimized HLO leave on a device, by name.

    >>> sizes("%a = (f32[2,8]{1,0}, bf16[4]) all-reduce(%x, %y)")["all-reduce"]
    72
    """
    total = dict.fromkeys(NAMES, 0)
    for kind, name, start in _found(hlo):
        total[name] += _result(kind, start)
    return total


def _found(hlo: str) -> list[tuple[str, str, str]]:
    """Result type and name of every collective, and `-start` where it is asynchronous."""
    plain = re.sub(r"/\*.*?\*/", "", hlo)  # long tuples number their entries
    return re.findall(rf"= (\(?[^=\n]*[\]\)}}}}]) ({'|'.join(NAMES)})(-start)?\(", plain)


def _result(kind: str, start: str) -> int:
    arrays = [_bytes(*array) for array in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", kind))]
    # begun but not done, a gather or a permutation holds operands and results
    held = start and kind.startswith("((")
    return sum(arrays[len(arrays) // 2 :] if held else arrays)


def _bytes(dtype: str, shape: str) -> int:
    size = 1
    for length in filter(None, shape.split(",")):
        size *= int(length)
    digits = re.search(r"\d+", dtype)
    bits = _BITS.get(dtype) or (int(digits.group()) if digits else 32)
    return -(-size * bits // 8)
