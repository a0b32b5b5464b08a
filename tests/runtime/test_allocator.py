"""Freed memory stays: what a step takes again costs no page faults."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys, threading
from jaxlearn.runtime import keep_memory

faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if sys.argv[1] == "keep":
    assert keep_memory()
size = int(sys.argv[3])
pages = size // resource.getpagesize()

def take():
    two = lambda: len([b"1" * size, b"2" * size])
    two()  # the first time everyone asks for pages
    before = faults()
    for _ in range(4):
        two()
    print((faults() - before) / (8 * pages))

if sys.argv[2] == "main":
    take()
else:
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
"""


def share_of_new_pages(how: str, *, where: str = "main", size: int = 2**26) -> float:
    """Page faults per page over four pairs of large arrays after a first one."""
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, where, str(size)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(made.stdout)


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


rare = HUGE.exists() and "[always]" in HUGE.read_text()
pytestmark = [
    pytest.mark.skipif(rare, reason="faults are rare"),
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="says so where it cannot help"),
]


def test_large_arrays_get_their_memory_back_without_page_faults():
    assert share_of_new_pages("keep") < 0.05
    assert share_of_new_pages("leave") > 0.5


def test_threads_share_the_heap_that_keeps_its_memory():
    # one array is within the 64 MB at which a part of a thread's own heap ends, two are not
    assert share_of_new_pages("keep", where="thread", size=40 * 2**20) < 0.05
