"""Every process that came hears the same: who did not."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxlearn.runtime.roll_call import absent


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def answers(address, processes, present, timeout, late=()):
    """What each present process hears; those in `late` come half a second after the others."""

    def one(index):
        time.sleep(0.5 * (index in late))
        return absent(address, processes, index, timeout)

    with ThreadPoolExecutor(len(present)) as pool:
        return list(pool.map(one, present))


@pytest.mark.parametrize("late", [(), (0,), (1, 3)])
def test_all_are_there_in_whatever_order(address, late):
    begin = time.monotonic()
    assert answers(address, 4, range(4), 20, late) == [[]] * 4
    assert time.monotonic() - begin < 10


def test_the_missing_are_named_by_all_that_came(address):
    assert answers(address, 5, [0, 2, 3], 1.5) == [[1, 4]] * 3


def test_without_process_0_it_is_the_missing_one(address):
    assert answers(address, 3, [1, 2], 0.5) == [[0]] * 2


def test_one_alone_waits_for_nobody(address):
    assert absent(address, 1, 0, 20) == []


def test_strangers_do_not_count_and_the_address_is_free_afterwards(address):
    host, _, port = address.partition(":")

    def strangers():
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"7\n", b"-1\n", b""):
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    with socket.create_connection((host, int(port)), 1) as line:
                        line.sendall(text)
                    break
                except OSError:
                    time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(absent, address, 3, 0, 1.5)
        pool.submit(strangers).result()
        assert asked.result() == [1, 2]
    socket.create_server((host, int(port))).close()
