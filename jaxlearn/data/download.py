"""A download that ends: bounded tries, bounded time, mirrors in turn, nothing unchecked is kept."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxlearn.data.errors import one_line


class Failure(NamedTuple):
    """Why a download did not succeed; `corrupt` if a whole file came with wrong content."""

    text: str
    corrupt: bool


def download(
    urls: Sequence[str],
    target: Path,
    check: Callable[[Path], bool],
    *,
    attempts: int = 3,
    timeout: float = 20.0,
    budget: float = 1800.0,
    wait: float = 1.0,
) -> Failure | None:
    """Bring the first good copy of a file to `target`; None on success, else the last failure.

    Args:
        urls: mirrors in order. A mirror is left at once when it says 4xx or sends wrong content,
            and after `attempts` tries when it stalls, breaks off or says 5xx.
        target: where the file is wanted.
        check: says whether the finished file is the right one; only then is it renamed to `target`.
        attempts: tries per mirror.
        timeout: seconds without a byte.
        budget: seconds for everything together.
        wait: seconds before the second try, doubled before each further one.
    """
    deadline = time.monotonic() + budget
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    failure = Failure("no address is known", corrupt=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            for attempt in range(attempts):
                outcome, again = _attempt(url, part, check, timeout, deadline)
                if outcome is None:
                    os.replace(part, target)
                    return None
                failure = outcome
                pause = wait * 2**attempt
                if not again or attempt + 1 == attempts or time.monotonic() + pause > deadline:
                    break
                time.sleep(pause)
        return failure
    except OSError as error:  # the cache folder: read-only, full disk
        return Failure(f"cannot write {target.parent}: {one_line(error)}", corrupt=False)
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)


def _attempt(
    url: str, part: Path, check: Callable[[Path], bool], timeout: float, deadline: float
) -> tuple[Failure | None, bool]:
    """One try: (None, _) when `part` is good, else the failure and whether to try again here."""
    import requests

    left = deadline - time.monotonic()
    if left <= 0:
        return Failure("the time for the download is used up", corrupt=False), False
    try:
        _transfer(url, part, min(timeout, left), left)
    except requests.HTTPError as error:
        code = error.response.status_code
        return Failure(f"{url} answered {code}", corrupt=False), code >= 500
    except (requests.RequestException, TimeoutError) as error:
        return Failure(f"{url}: {type(error).__name__}", corrupt=False), True
    if check(part):
        return None, False
    return Failure(f"{url} sent a file with the wrong SHA-256", corrupt=True), False


def _transfer(url: str, part: Path, timeout: float, left: float) -> None:
    """Stream `url` into `part`; `TimeoutError` once `left` seconds are over, however it drips."""
    import pooch

    timers: list[threading.Timer] = []

    def watch(response, *_args, **_kwargs):
        # a read timeout restarts with every byte: only closing the line bounds the whole transfer
        timers.append(threading.Timer(left, response.raw.shutdown))
        timers[-1].daemon = True
        timers[-1].start()

    fetch = pooch.HTTPDownloader(
        chunk_size=1 << 16, timeout=timeout, hooks={"response": watch}, progressbar=False
    )
    start = time.monotonic()
    try:
        fetch(url, str(part), None)
    finally:
        for timer in timers:
            timer.cancel()
    if time.monotonic() - start >= left:
        raise TimeoutError(f"{url} was slower than {left:.0f} s")
