"""Arguments of several commands, as the commands check them."""

import argparse
import os
import sys

import joblib
import numpy as np
import pytest
import torch

from skrbm.commands import arguments
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from tests.commands.running import error_of


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["compare", "--k", "0"], "--k: must be a whole number of at least 1, not '0'"),
        (["compare", "--k", "1", "2.5"], "--k: must be a whole number of at least 1, not '2.5'"),
        (["compare", "--n-hidden", "-3"], "--n-hidden: must be a whole number"),
        (["compare", "--splits", "1"], "--splits: must be a whole number from 2 to 20"),
        (["compare", "--splits", "21"], "--splits: must be a whole number from 2 to 20"),
        (["compare", "--C", "0"], "--C: must be a positive number, not '0'"),
        (["compare", "--C", "nan"], "--C: must be a positive number"),
        (["compare", "--learning-rate", "fast"], "--learning-rate: must be a positive number, not 'fast'"),
        (["compare", "--random-state", "-1"], "--random-state"),
        (["compare", "--device", "abacus"], "--device"),
        (["train", "--n-iter", "0"], "--n-iter: must be a whole number"),
    ],
)
def test_values_that_are_out_of_range(capsys, argv, words):
    assert words in error_of(capsys, *argv)


@pytest.mark.parametrize("command", ["compare", "train"])
def test_a_device_that_is_not_available(capsys, monkeypatch, command):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if command == "train":
        pytest.importorskip("matplotlib")
    assert "argument --device: CUDA is not available" in error_of(capsys, command, "--device", "cuda")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("no-such-folder/table.csv", "--output: there is no folder 'no-such-folder'"),
        (".", "--output: '.' is a folder"),
    ],
)
def test_an_output_that_is_no_file(capsys, output, words):
    assert words in error_of(capsys, "compare", "--output", output)


def test_an_output_that_may_not_be_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(arguments.os, "access", lambda path, mode: False)
    assert "no permission" in error_of(capsys, "compare", "--output", os.fspath(tmp_path / "table.csv"))


@pytest.mark.parametrize("command", ["train", "sample", "complete"])
def test_pictures_without_matplotlib(capsys, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    joblib.dump(BernoulliRBMTorch(2, n_iter=1, random_state=0).fit(np.eye(64)), "a")
    argv = [command] if command == "train" else [command, "a"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "skrbm[plots]"' in error_of(capsys, *argv)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("with k=1 (here 2).", "with --k 1 (here 2)."),
        ("Lower it (learning_rate=0.2), or", "Lower it (--learning-rate 0.2), or"),
        ("chains (n_chains=100) help", "chains (n_chains=100) help"),  # no argument of this command
        (
            "epochs (n_iter is 5), chains (n_chains is 100) or steps (k is 1) help; the k is k",
            "epochs (--n-iter is 5), chains (n_chains is 100) or steps (--k is 1) help; the k is k",
        ),
        (
            "a mode (method is 'gibbs') of (image_shape is (3, 5))",
            "a mode (--method is gibbs) of (--image-shape is 3 5)",
        ),
        ("image_shape=[3, 5] is wrong", "--image-shape 3 5 is wrong"),
        ("n_samples=4 of method='gibbs'.", "--n 4 of --method gibbs."),
    ],
)
def test_messages_name_flags(text, expected):
    args = argparse.Namespace(k=1, learning_rate=1, image_shape=None, n=1, n_iter=5, method=None)
    assert arguments.in_flags(text, args) == expected


def test_arguments_are_not_abbreviated(capsys):
    assert "unrecognized arguments: --n-hid" in error_of(capsys, "train", "--n-hid", "3")
