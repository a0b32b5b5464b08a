"""Which processes of a pod came: asked before JAX joins them, since it does not name the absent."""

import json
import socket
import time
from contextlib import ExitStack, suppress

PAUSE = 0.1


def absent(address: str, processes: int, index: int, timeout: float) -> list[int]:
    """Wait until every process has called this, and return the indices of those that did not.

    Process 0 listens at the address, which is free again afterwards; all others report there and
    hear its answer, so that all present processes return the same. `[0]` where nobody listens.

    Args:
        address: host:port of process 0.
        processes: how many there are.
        index: of this one.
        timeout: seconds to wait for the others.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout
    if index == 0:
        return _ask(int(port), processes, deadline)
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            return _report(host.strip("[]"), int(port), index, timeout)
        time.sleep(PAUSE)
    return [0]


def _ask(port: int, processes: int, deadline: float) -> list[int]:
    here: dict[int, socket.socket] = {}
    with ExitStack() as stack:
        listening = stack.enter_context(_server(port, processes))
        while len(here) < processes - 1 and (left := deadline - time.monotonic()) > 0:
            listening.settimeout(left)
            with suppress(OSError, ValueError):  # whoever else knocks is no process of ours
                caller, _ = listening.accept()
                stack.enter_context(caller)
                caller.settimeout(max(PAUSE, min(left, 5)))
                index = int(caller.makefile().readline())
                if 0 < index < processes:
                    here[index] = caller
        missing = sorted(set(range(1, processes)) - here.keys())
        for caller in here.values():
            with suppress(OSError):
                caller.sendall(json.dumps(missing).encode() + b"\n")
    return missing


def _server(port: int, backlog: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, backlog=backlog, dualstack_ipv6=both)


def _report(host: str, port: int, index: int, timeout: float) -> list[int]:
    with socket.create_connection((host, port), timeout) as line:
        line.sendall(f"{index}\n".encode())
        # process 0 may have come later than this one, and waits for as long
        line.settimeout(timeout + 5)
        return json.loads(line.makefile().readline())
