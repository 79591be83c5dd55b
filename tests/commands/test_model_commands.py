"""`skrbm sample` and `skrbm complete`, from the command line on."""

import os

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")
pytest.importorskip("matplotlib")

from matplotlib.image import imread

from skrbm.commands import cli
from skrbm.commands import image_experiment as experiment
from skrbm.commands.images import load_images
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from tests.commands.running import error_of
from tests.test_datasets import write_mnist


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
    error = error_of(capsys, command, model, "--output", output, "--method", "trajectory_tempering")
    assert "--method trajectory_tempering needs" in error
    assert "give --method parallel_tempering" in error


def test_images_of_another_shape(trained, tmp_path, capsys):
    model, output = os.fspath(trained / "best" / "model.joblib"), os.fspath(tmp_path / "a.png")
    error = error_of(capsys, "sample", model, "--output", output, "--image-shape", "3", "5")
    assert "--image-shape 3 5 doesn't make 64 features. Give HEIGHT and WIDTH" in error
    write_mnist(tmp_path, 60, 20)
    assert "features" in error_of(capsys, "complete", model, "--data", os.fspath(tmp_path), "--output", output)


def test_images_that_are_not_square(tmp_path, capsys):
    path, rows = tmp_path / "rbm.joblib", np.eye(6)
    joblib.dump(BernoulliRBMTorch(2, n_iter=1, random_state=0).fit(rows), path)
    error = error_of(capsys, "sample", os.fspath(path), "--output", os.fspath(tmp_path / "a.png"))
    assert error.endswith("Give --image-shape HEIGHT WIDTH, or an --output that ends in .csv.\n")
