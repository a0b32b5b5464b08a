"""Freed memory stays: what a step takes again costs no page faults."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from jaxlearn.runtime import keep_memory

faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if sys.argv[1] == "keep":
    assert keep_memory()
pages = 2**26 // resource.getpagesize()
b"1" * 2**26  # the first time everyone asks for pages
before = faults()
for _ in range(4):
    b"1" * 2**26
print((faults() - before) / (4 * pages))
"""


def share_of_new_pages(how: str) -> float:
    """Page faults per page over four large arrays after a first one."""
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return float(made.stdout)


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(HUGE.exists() and "[always]" in HUGE.read_text(), reason="faults are rare")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="says so where it cannot help")
def test_large_arrays_get_their_memory_back_without_page_faults():
    assert share_of_new_pages("keep") < 0.05
    assert share_of_new_pages("leave") > 0.5
