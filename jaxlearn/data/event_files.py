"""File formats of event cameras: ATIS (N-MNIST), AEDAT 2 (CIFAR10-DVS), AEDAT 3.1 (DVS-Gesture)."""

import struct

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.events import Events

_END = b"#!END-HEADER\r\n"
_POLARITY = 1
_PACKET = struct.Struct("<hhiiiiii")


def read_atis(data: bytes, name: str = "the recording") -> Events:
    """N-MNIST's recordings: 5 bytes per event.

    x, y, then one bit of polarity and 23 of time in microseconds, most significant first. An event
    in row 240 is none: from there on 2^13 microseconds are added to all times.

    Raises:
        CorruptData: when the bytes are no whole number of events.
    """
    if len(data) % 5 or not data:
        raise CorruptData(f"{name} has {len(data)} bytes, which are no events of 5 bytes")
    raw = np.frombuffer(data, np.uint8).reshape(-1, 5).astype(np.int64)
    overflow = raw[:, 1] == 240
    time = (raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4]
    time += np.cumsum(overflow) << 13
    kept = ~overflow
    return Events(raw[kept, 0], raw[kept, 1], raw[kept, 2] >> 7, time[kept])


def read_aedat2(data: bytes, name: str = "the recording") -> Events:
    """AEDAT 2 of a sensor of 128 x 128 pixels, as CIFAR10-DVS comes.

    Lines that begin with `#`, then pairs of big-endian 32-bit words: an address whose bit 0 is 0
    where it became brighter, bits 1 to 7 the column from the right and bits 8 to 14 the row from
    below, and a time in microseconds.

    Raises:
        CorruptData: when what follows the header is no whole number of events.
    """
    start = 0
    while data[start : start + 1] == b"#":
        end = data.find(b"\n", start)
        if end < 0:
            raise CorruptData(f"{name} ends within its header; replace the file")
        start = end + 1
    body = data[start:]
    if len(body) % 8 or not body:
        raise CorruptData(f"{name} has {len(body)} bytes of events, expected a multiple of 8")
    address, time = np.frombuffer(body, ">u4").reshape(-1, 2).astype(np.int64).T
    x, y = 127 - (address >> 1 & 127), 127 - (address >> 8 & 127)
    return _in_order(Events(x, y, 1 - (address & 1), time))


def read_aedat3(data: bytes, name: str = "the recording") -> Events:
    """The polarity events of AEDAT 3.1, as DVS-Gesture comes.

    A header of text, then packets: 28 bytes that say type, size and number, then events of two
    little-endian 32-bit words: bit 0 valid, bit 1 polarity, 15 bits of y and of x, and a time in
    microseconds. Other packets are left out.

    Raises:
        CorruptData: when there is no header, or a packet ends early.
    """
    place = data.find(_END)
    if place < 0:
        raise CorruptData(f"{name} has no line '#!END-HEADER'; it is no AEDAT 3.1 file")
    place, found = place + len(_END), []
    with parsing(name):
        while place < len(data):
            kind, _, size, _, turns, _, number, _ = _PACKET.unpack_from(data, place)
            place += _PACKET.size
            if number < 0 or size < 0 or place + number * size > len(data):
                raise CorruptData(f"{name} ends within a packet; replace the file")
            if kind == _POLARITY and number:
                words = np.frombuffer(data, "<u4", number * size // 4, place)
                found.append(_polarity(words.reshape(number, -1).astype(np.int64), turns))
            place += number * size
    if not found:
        raise CorruptData(f"{name} holds no event; replace the file")
    return _in_order(Events(*map(np.concatenate, zip(*found, strict=True))))


def _polarity(words: np.ndarray, turns: int) -> Events:
    """The valid events of a packet; its clock of 31 bits has overflowed so many times."""
    address, time = words[words[:, 0] & 1 == 1, :2].T
    x, y = address >> 17 & 0x7FFF, address >> 2 & 0x7FFF
    return Events(x, y, address >> 1 & 1, time + (turns << 31))


def _in_order(events: Events) -> Events:
    order = np.argsort(events.t, kind="stable")
    return Events(*(part[order] for part in events))
