import re
import sys

import joblib
import pytest

from skrbm.commands import progress
from skrbm.commands.progress import show_progress


def test_a_bar_on_a_terminal(trained, monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    rbm = joblib.load(trained / "best" / "model.joblib")
    with show_progress() as show:
        for epoch in range(4):
            show("best", epoch, 3, rbm)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"best: loss {rbm.history_['loss'][-1]:.2f}" in shown
    assert "3/3" in shown
    assert "0:00:00" in shown


def test_one_line_on_a_terminal_without_rich(trained, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    rbm = joblib.load(trained / "best" / "model.joblib")
    with show_progress() as show:
        for name, epoch in (("best", 0), ("a longer name", 1), ("best", 12), ("best", 100)):
            show(name, epoch, 100, rbm)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    first, *lines = shown.removesuffix("\n").split("\r")
    assert first == ""
    assert [line.partition(",")[0].rstrip() for line in lines] == [
        "best: before training",
        "a longer name: epoch 1 of 100",
        "best: epoch 12 of 100",
        "best: epoch 100 of 100",
    ]
    assert all(len(line) <= 59 for line in lines)
    assert len(lines[2]) >= len(lines[1])  # nothing of a longer line is left


def test_some_ten_lines_of_many_epochs(trained, monkeypatch, capsys):
    rbm, now = joblib.load(trained / "best" / "model.joblib"), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def shown(n_epochs, seconds):
        with show_progress() as show:
            for epoch in range(n_epochs + 1):
                show("fit", epoch, n_epochs, rbm)
                now[0] += seconds
        return [int(n) for n in re.findall(r"epoch (\d+) of", capsys.readouterr().err)]

    assert shown(100, 0.1) == [1, *range(10, 101, 10)]
    assert shown(15, 0.1) == [1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15]
    assert shown(10, 0.1) == list(range(1, 11))
    assert shown(40, 30.0)[:4] == [1, 4, 7, 8]  # a minute without a line is long enough


def test_a_line_an_epoch_elsewhere(trained, capsys):
    rbm = joblib.load(trained / "best" / "model.joblib")
    with show_progress() as show:
        for epoch in range(3):
            show("best", epoch, 3, rbm)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["best: epoch 1 of 3", "best: epoch 2 of 3"]
    assert f"loss {rbm.history_['loss'][-1]:.2f}" in lines[-1]
