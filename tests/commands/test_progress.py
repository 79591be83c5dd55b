import re

import joblib
import pytest

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


def test_a_line_an_epoch_elsewhere(trained, capsys):
    rbm = joblib.load(trained / "best" / "model.joblib")
    with show_progress() as show:
        for epoch in range(3):
            show("best", epoch, 3, rbm)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["best: epoch 1 of 3", "best: epoch 2 of 3"]
    assert f"loss {rbm.history_['loss'][-1]:.2f}" in lines[-1]
