"""Downloads against a server on this machine that misbehaves in every known way."""

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jaxlearn.data.download import download

BODY = bytes(range(256)) * 64


class Handler(BaseHTTPRequestHandler):
    """Does what the path says."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_):
        pass

    def do_GET(self):
        behaviour = self.path.strip("/")
        self.server.seen[behaviour] += 1
        times = self.server.seen[behaviour]
        if behaviour == "missing" or (behaviour == "busy" and times < 3) or behaviour == "down":
            self.send_error(404 if behaviour == "missing" else 503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if behaviour == "stall":
            self.server.over.wait(5)
        elif behaviour == "half" or (behaviour == "flaky" and times == 1):
            self.wfile.write(BODY[: len(BODY) // 2])
        elif behaviour == "drip":
            for i in range(len(BODY)):
                if self.server.over.wait(0.05):
                    return
                self.wfile.write(BODY[i : i + 1])
                self.wfile.flush()
        else:
            self.wfile.write(b"<html>" + BODY[6:] if behaviour == "html" else BODY)


class Server(ThreadingHTTPServer):
    """A client that hangs up is no news."""

    daemon_threads = True

    def handle_error(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    instance = Server(("127.0.0.1", 0), Handler)
    instance.seen, instance.over = Counter(), threading.Event()
    instance.url = f"http://127.0.0.1:{instance.server_address[1]}"
    thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield instance
    instance.over.set()
    instance.shutdown()
    instance.server_close()
    thread.join()


@pytest.fixture
def get(server, tmp_path):
    """Download from the paths given; returns the failure (None: success)."""

    def fetch(*behaviours, **options):
        options = {"timeout": 0.5, "wait": 0.01, "budget": 20.0, **options}
        urls = [f"{server.url}/{behaviour}" for behaviour in behaviours]
        check = lambda path: path.read_bytes() == BODY
        failure = download(urls, tmp_path / "cache" / "set" / "a.bin", check, **options)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        if failure is None:
            assert [path.read_bytes() for path in files] == [BODY]
        else:
            assert files == []
            assert "\n" not in failure.text
        return failure

    return fetch


def test_good_file_comes_at_once(get, server):
    assert get("good") is None
    assert server.seen == {"good": 1}


def test_503_then_200_is_retried(get, server):
    assert get("busy") is None
    assert server.seen == {"busy": 3}


def test_half_a_body_is_retried(get, server):
    assert get("flaky") is None
    assert server.seen == {"flaky": 2}


@pytest.mark.parametrize(
    "behaviour, tries", [("down", 3), ("half", 3), ("stall", 3), ("missing", 1)]
)
def test_failures_are_bounded(get, server, behaviour, tries):
    failure = get(behaviour, timeout=0.2)
    assert not failure.corrupt
    assert server.seen == {behaviour: tries}
    assert behaviour in failure.text


def test_wrong_content_is_not_kept_nor_asked_for_again(get, server):
    assert get("html").corrupt
    assert server.seen == {"html": 1}


@pytest.mark.parametrize("first", ["missing", "html", "down", "half"])
def test_the_next_mirror_is_tried(get, server, first):
    assert get(first, "good") is None
    assert server.seen["good"] == 1


def test_a_dripping_server_cannot_exceed_the_budget(get):
    start = time.monotonic()
    failure = get("drip", "drip", budget=0.6)
    assert failure is not None
    assert time.monotonic() - start < 3


def test_nobody_listening_is_a_failure(tmp_path, server):
    url = "http://127.0.0.1:9/"  # the discard port
    failure = download([url], tmp_path / "a", lambda _: True, attempts=2, wait=0.01, timeout=0.5)
    assert "ConnectionError" in failure.text


def test_a_cache_that_cannot_be_written_is_said(tmp_path, server):
    (tmp_path / "file").write_bytes(b"")
    failure = download([f"{server.url}/good"], tmp_path / "file" / "a", lambda _: True)
    assert failure.text.startswith("cannot write")


def test_an_existing_file_is_replaced_only_by_a_good_one(server, tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    check = lambda path: path.read_bytes() == BODY
    assert download([f"{server.url}/html"], target, check).corrupt
    assert target.read_bytes() == b"old"
    assert download([f"{server.url}/good"], target, check) is None
    assert target.read_bytes() == BODY
