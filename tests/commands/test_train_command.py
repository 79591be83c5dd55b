"""`skrbm train`, from the command line on."""

import os
import re
import shutil
import signal
import subprocess
import sys

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")
pytest.importorskip("matplotlib")

from skrbm.commands import cli
from skrbm.commands import image_experiment as experiment
from tests.commands.running import SMALL_TRAINING, error_of
from tests.test_datasets import write_mnist


def test_resume_goes_on_to_the_same_machine(trained, tmp_path, monkeypatch, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(tmp_path), *SMALL_TRAINING]

    run = experiment.train

    def train_and_stop(name, task, show):
        def stop(name, epoch, n_epochs, model):
            show(name, epoch, n_epochs, model)
            if epoch == 2:
                signal.raise_signal(signal.SIGINT)

        return run(name, task, stop)

    monkeypatch.setattr(experiment, "train", train_and_stop)
    with pytest.raises(SystemExit) as caught:
        cli.main([*argv, "--force"])  # which the line to continue with must not repeat
    assert caught.value.code == 130
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("Interrupted.")
    assert captured.err.splitlines()[-1].endswith("--device cpu --resume")
    assert "epochs: 2 of 3" in captured.out
    assert "log-likelihood, nats an image (pixels drawn as 0 or 1): " in captured.out
    assert experiment.LIKELIHOOD not in captured.out
    assert "interrupted after epoch 2 of 3" in (tmp_path / "report.html").read_text()
    seen = []
    monkeypatch.setattr(experiment, "train", lambda name, task, _: run(name, task, lambda *a: seen.append(a[1])))
    assert cli.main([*argv, "--resume"]) == 0
    assert seen == [3]
    assert len(list((tmp_path / "best").glob("epoch_*.png"))) == 4
    models = [joblib.load(folder / "best" / "model.joblib") for folder in (trained, tmp_path)]
    np.testing.assert_array_equal(models[0].components_, models[1].components_)


def test_resume_by_other_settings(trained, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(trained), *SMALL_TRAINING, "--resume", "--k", "2"]
    assert "argument --resume" in (error := error_of(capsys, *argv))
    assert "--k 1 (here 2)" in error
    assert "give --force instead of --resume" in error


def test_resume_for_more_epochs(trained, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(trained), *SMALL_TRAINING, "--resume"]
    error = error_of(capsys, *argv, "--n-iter", "4")
    assert "--n-iter 3 (here 4)" in error
    assert "give --force instead of --resume" in error
    assert "For more epochs begin anew" in error
    assert not any(word in error for word in ("warm_start", "checkpoint=None", "n_iter", "resume=False"))


def bytes_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("flags", [[], ["--resume", "--force"]])
def test_a_machine_is_not_overwritten_silently(trained, capsys, flags):
    before = bytes_in(trained)
    error = error_of(capsys, "train", "--output-dir", os.fspath(trained), *SMALL_TRAINING, *flags)
    assert "--resume" in error
    assert "--force" in error
    assert bytes_in(trained) == before


def test_a_checkpoint_of_an_older_version(trained, tmp_path, capsys):
    shutil.copytree(trained / "best", tmp_path / "best")
    (tmp_path / "best" / "model.joblib").unlink()
    (tmp_path / "best" / "checkpoint.ckpt").rename(tmp_path / "best" / "checkpoint.pt")
    argv = ["train", "--output-dir", os.fspath(tmp_path), *SMALL_TRAINING]
    assert "holds a machine" in error_of(capsys, *argv)
    assert "Rename its checkpoint.pt to checkpoint.ckpt" in error_of(capsys, *argv, "--resume")
    (tmp_path / "best" / "checkpoint.pt").rename(tmp_path / "best" / "checkpoint.ckpt")
    assert cli.main([*argv, "--resume"]) == 0


def test_force_begins_anew(trained, tmp_path, capsys):
    shutil.copytree(trained / "best", tmp_path / "best")
    argv = ["train", "--output-dir", os.fspath(tmp_path), *SMALL_TRAINING, "--random-state", "1", "--force"]
    assert cli.main(argv) == 0
    before, after = (joblib.load(folder / "best" / "model.joblib") for folder in (trained, tmp_path))
    assert after.components_.shape == before.components_.shape
    assert not np.array_equal(after.components_, before.components_)
    # What is off about a machine is said where whoever trained it sees it, in words of the command line.
    assert "best: warning: The machine is not to be trusted" in (errors := capsys.readouterr().err)
    assert re.search(r"[(]--n-iter (is )?3[)]", errors)


def test_another_recipe_in_the_folder_is_no_hindrance(trained, tmp_path):
    shutil.copytree(trained / "deck", tmp_path / "deck")
    assert cli.main(["train", "--output-dir", os.fspath(tmp_path), *SMALL_TRAINING]) == 0
    assert (tmp_path / "deck" / "model.joblib").read_bytes() == (trained / "deck" / "model.joblib").read_bytes()


def test_errors_of_a_training_are_not_hidden(monkeypatch, tmp_path):
    def train(name, task, show):
        raise ValueError("a bug")

    monkeypatch.setattr(experiment, "train", train)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["train", "--output-dir", os.fspath(tmp_path)])


def test_ctrl_c_in_the_first_epoch_is_quiet(tmp_path):
    argv = ["train", "--n-hidden", "20000", "--k", "1000", "--output-dir", os.fspath(tmp_path)]
    run = subprocess.Popen([sys.executable, "-m", "skrbm", *argv], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "best" / "epoch_000.png").exists():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in error


def test_other_images(tmp_path):
    write_mnist(tmp_path, 60, 40)
    folder = tmp_path / "new" / "pic"
    argv = ["--data", os.fspath(tmp_path), "--output-dir", os.fspath(folder), "--pictures-every", "2", *SMALL_TRAINING]
    assert cli.main(["train", *argv]) == 0
    assert [path.name for path in sorted((folder / "best").glob("epoch_*"))] == [f"epoch_00{i}.png" for i in (0, 2, 3)]


def test_an_output_dir_that_is_a_file(capsys, tmp_path):
    (tmp_path / "file").write_text("text")
    assert "--output-dir" in error_of(capsys, "train", "--output-dir", os.fspath(tmp_path / "file"))
