import io
import time

from jaxlearn.runtime import bar, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_without_a_terminal():
    out = io.StringIO()
    with bar(100, 20, name="run", stream=out) as shown:
        shown.say("compiled in 1.5 s")
        for step in range(30, 101, 10):
            time.sleep(0.01)
            shown.show(step, {"step": step, "loss": 0.5})
    first, last = out.getvalue().splitlines()
    assert first == "run: compiled in 1.5 s"
    assert last.startswith("run: 100/100  ")
    assert last.endswith("  0:00 left  loss 0.5")
    rate = float(last.split()[2])
    assert 100 < rate <= 1000  # 10 steps in at least 10 ms


def test_a_line_every_few_seconds(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    out = io.StringIO()
    with bar(100, stream=out) as shown:
        for step in (1, 2, 3):
            shown.show(step, {"step": step})
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["1/100", "2/100", "3/100"]


def test_a_bar_on_a_terminal():
    out = Terminal()
    with bar(100, name="run", stream=out) as shown:
        shown.say("compiling")
        shown.show(40, {"step": 40, "accuracy": 0.25})
    assert "40/100" in out.getvalue()
    assert "accuracy 0.25" in out.getvalue()


def test_silence():
    out = io.StringIO()
    with bar(10, show=False, stream=out) as shown:
        shown.say("compiling")
        shown.show(10, {"step": 10})
    assert out.getvalue() == ""


def test_time_to_go():
    assert "2:46:40 left" in progress.status(0, 10_000, 1.0, {})
    assert "? left" in progress.status(0, 10, 0.0, {})
    assert progress.status(0, 100, 0.02, {}).startswith("0.02 steps/s")
    assert progress.status(10, 10, 0.0, {}) == ""
