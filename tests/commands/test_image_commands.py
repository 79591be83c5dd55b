"""`skrbm train`, `sample` and `complete`, from the command line on."""

import os
import re
import signal
import subprocess
import sys

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")
pytest.importorskip("matplotlib")

from matplotlib.image import imread

from skrbm.commands import cli, image_commands
from skrbm.commands import image_experiment as experiment
from skrbm.commands.arguments import load_images
from tests.commands.running import SMALL_TRAINING, error_of
from tests.test_datasets import write_mnist

# -- train -------------------------------------------------------------------------------------------------------------


def test_resume_goes_on_to_the_same_machine(trained, tmp_path, monkeypatch, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(tmp_path), *SMALL_TRAINING]

    def train_and_stop(name, task, show):
        def stop(name, epoch, n_epochs, model):
            show(name, epoch, n_epochs, model)
            if epoch == 2:
                signal.raise_signal(signal.SIGINT)

        return experiment.train(name, task, stop)

    monkeypatch.setattr(image_commands, "train", train_and_stop)
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 130
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("Interrupted.")
    assert captured.err.splitlines()[-1].endswith("--resume")
    assert "epochs: 2 of 3" in captured.out
    assert "log-likelihood, nats an image: " in captured.out
    assert experiment.LIKELIHOOD not in captured.out
    assert "interrupted after epoch 2 of 3" in (tmp_path / "report.html").read_text()
    seen = []
    monkeypatch.setattr(
        image_commands, "train", lambda name, task, _: experiment.train(name, task, lambda *a: seen.append(a[1]))
    )
    assert cli.main([*argv, "--resume"]) == 0
    assert seen == [3]
    assert len(list((tmp_path / "best").glob("epoch_*.png"))) == 4
    models = [joblib.load(folder / "best" / "model.joblib") for folder in (trained, tmp_path)]
    np.testing.assert_array_equal(models[0].components_, models[1].components_)


def test_resume_by_other_settings(trained, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(trained), *SMALL_TRAINING, "--resume", "--k", "2"]
    assert "argument --resume" in (error := error_of(capsys, *argv))
    assert "k=1 (here 2)" in error


def test_errors_of_a_training_are_not_hidden(monkeypatch, tmp_path):
    def train(name, task, show):
        raise ValueError("a bug")

    monkeypatch.setattr(image_commands, "train", train)
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


def test_a_bar_on_a_terminal(trained, monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    rbm = joblib.load(trained / "best" / "model.joblib")
    with image_commands.show_progress() as show:
        for epoch in range(4):
            show("best", epoch, 3, rbm)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"best: loss {rbm.history_['loss'][-1]:.2f}" in shown
    assert "3/3" in shown
    assert "0:00:00" in shown


def test_a_line_an_epoch_elsewhere(trained, capsys):
    rbm = joblib.load(trained / "best" / "model.joblib")
    with image_commands.show_progress() as show:
        for epoch in range(3):
            show("best", epoch, 3, rbm)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["best: epoch 1 of 3", "best: epoch 2 of 3"]
    assert f"loss {rbm.history_['loss'][-1]:.2f}" in lines[-1]


# -- sample, complete --------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The displays that are drawn, one after the other."""
    displays = []

    class Display(experiment.SamplesDisplay):
        def plot(self, ax=None):
            displays.append(self)
            return super().plot(ax)

    monkeypatch.setattr(experiment, "SamplesDisplay", Display)
    return displays


def test_sample(trained, tmp_path, drawn, capsys):
    model, picture = trained / "best" / "model.joblib", tmp_path / "picture.png"
    argv = ["sample", os.fspath(model), "--n", "6", "--steps", "5", "--output", os.fspath(picture)]
    assert cli.main([*argv, "--values", "bits"]) == 0
    rbm = joblib.load(model)
    np.testing.assert_array_equal(drawn[0].samples, rbm.sample(6, 5, random_state=0))
    assert cli.main(argv) == 0
    np.testing.assert_array_equal(drawn[1].samples, rbm.reconstruct(drawn[0].samples))
    assert capsys.readouterr().out == f"wrote {picture}\n" * 2
    assert np.ptp(imread(picture)) > 0.5


@pytest.mark.parametrize(
    ("missing", "half"),
    [("lower", np.s_[:, 4:]), ("upper", np.s_[:, :4]), ("left", np.s_[:, :, :4]), ("right", np.s_[:, :, 4:])],
)
def test_complete(trained, tmp_path, drawn, capsys, missing, half):
    model, picture = trained / "best" / "model.joblib", tmp_path / "picture.png"
    chains = ["--steps", "5", "--output", os.fspath(picture)]
    assert cli.main(["complete", os.fspath(model), "--n", "4", "--missing", missing, *chains]) == 0
    assert capsys.readouterr().out == f"wrote {picture}\n"
    assert np.ptp(imread(picture)) > 0.5
    test = load_images("digits").test[:4].reshape(4, 8, 8)
    whole, given, *completed = drawn[-1].samples.reshape(6, 4, 8, 8)
    np.testing.assert_array_equal(whole, test)
    expected = test.copy()
    expected[half] = np.nan
    np.testing.assert_array_equal(given, expected)
    for images in completed:
        np.testing.assert_array_equal(np.where(np.isnan(expected), 0, images), np.nan_to_num(expected))
    assert np.isin(completed[1][half], [0, 1]).all()


def test_files_that_run_no_code(trained, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    path, output = tmp_path / "rbm.safetensors", tmp_path / "a.png"
    joblib.load(trained / "best" / "model.joblib").save(path)
    monkeypatch.setattr(joblib, "load", None)
    assert cli.main(["sample", os.fspath(path), "--n", "2", "--steps", "2", "--output", os.fspath(output)]) == 0
    assert output.exists()


@pytest.mark.parametrize("command", ["sample", "complete"])
def test_wrong_arguments(trained, tmp_path, capsys, command):
    model, output = os.fspath(trained / "best" / "model.joblib"), os.fspath(tmp_path / "a.png")
    file = tmp_path / "file"
    assert "can't be loaded" in error_of(capsys, command, os.fspath(file), "--output", output)
    file.write_text("text")
    assert "can't be loaded" in error_of(capsys, command, os.fspath(file), "--output", output)
    joblib.dump({"no": "machine"}, file)
    assert "holds a dict" in error_of(capsys, command, os.fspath(file), "--output", output)
    assert "no folder" in error_of(capsys, command, model, "--output", "no-such-folder/a.png")
    assert "trajectory" in error_of(capsys, command, model, "--output", output, "--method", "trajectory_tempering")


def test_images_of_another_shape(trained, tmp_path, capsys):
    model, output = os.fspath(trained / "best" / "model.joblib"), os.fspath(tmp_path / "a.png")
    assert "image_shape" in error_of(capsys, "sample", model, "--output", output, "--image-shape", "3", "5")
    write_mnist(tmp_path, 60, 20)
    assert "features" in error_of(capsys, "complete", model, "--data", os.fspath(tmp_path), "--output", output)
