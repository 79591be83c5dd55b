"""How far a long run has come: a bar where somebody sees it, else lines."""

import sys
from itertools import count

import pytest

from skrbm.support.progress import show_progress


@pytest.fixture
def slow_clock(monkeypatch):
    """Ten seconds go by at each look at the clock."""
    monkeypatch.setattr("time.perf_counter", count(0.0, 10.0).__next__)


def run(n=3):
    with show_progress("a run") as progress:
        for step in range(n):
            progress(step + 1, n)


def test_lines_where_nobody_sees_a_bar(capsys, slow_clock):
    run()
    assert capsys.readouterr().out.splitlines() == [f"a run: step {n} of 3, {10 * n} s" for n in (1, 2, 3)]


def test_lines_without_rich(capsys, slow_clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    run(1)
    assert capsys.readouterr().out == "a run: step 1 of 1, 10 s\n"


def test_a_short_run_shows_nothing(capsys):
    run()
    assert capsys.readouterr().out == ""


def test_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as rich sees it
    monkeypatch.setattr("skrbm.support.progress._DELAY", -1.0)
    run(7)
    shown = capsys.readouterr().out
    assert "a run" in shown
    assert "7/7" in shown
    assert "step" not in shown


def test_an_error_ends_the_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("skrbm.support.progress._DELAY", -1.0)

    def broken_run():
        with show_progress("a run") as progress:
            progress(1, 2)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken_run()
    run(2)  # rich refuses a second bar while one is alive
    assert "2/2" in capsys.readouterr().out
