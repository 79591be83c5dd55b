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

from skrbm.commands import cli
from skrbm.commands import image_experiment as experiment
from skrbm.datasets import load_digits
from tests.test_datasets import write_mnist
from tests.commands.test_page import checked

SMALL = ["--n-hidden", "8", "--n-iter", "3", "--device", "cpu"]
PICTURES = ["activity.png", "curve.png", "filters.png", "samples.png", "steps.png"]


def error_of(capsys, *argv):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of both recipes on digits."""
    folder = tmp_path_factory.mktemp("trained") / "pic"
    assert cli.main(["train", "--recipe", "both", "--output-dir", os.fspath(folder), *SMALL]) == 0
    return folder


@pytest.mark.parametrize("recipe", ["deck", "best"])
def test_files(trained, recipe):
    epochs = [f"epoch_00{i}.png" for i in range(4)]
    assert sorted(os.listdir(trained / recipe)) == sorted([*PICTURES, *epochs, "checkpoint.pt", "model.joblib"])
    frames = [imread(trained / recipe / name) for name in epochs]
    assert all(frame.shape == frames[0].shape for frame in frames)
    assert all(np.ptp(frame) > 0.5 for frame in frames)
    assert np.abs(frames[3] - frames[0]).mean() > 0.005  # it learned


def test_the_report_says_what_the_machines_are(trained):
    page = (trained / "report.html").read_text()
    found = checked(page)
    assert len(found.images) == 2 + 2 * (len(PICTURES) + 4) + 1  # the originals twice, a film each, both curves
    text = " ".join(found.text)
    assert re.search(r"1,437 images .* 360", text)
    for recipe in ("deck", "best"):
        model = joblib.load(trained / recipe / "model.joblib")
        assert (model.checkpoint, model.resume, model.warm_start) == (None, False, False)
        nats = model.log_likelihood(experiment.load_images("digits").test).mean(dtype=np.float64)
        assert f"{nats:.2f} (exact)" in text
        assert f"{model.history_['seconds'].sum():.1f}" in text


def test_the_deck_begins_as_it_did():
    rbm = experiment.RECIPES["deck"].machine(784, n_hidden=500, random_state=0)
    assert rbm.components_.shape == (500, 784)
    assert rbm.components_.std() == pytest.approx(0.01, rel=0.01)
    assert not rbm.intercept_visible_.any()
    assert not rbm.intercept_hidden_.any()
    parameters = rbm.get_params()
    deck = {"algorithm": "cd", "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 64, "binarize": "sample"}
    assert {name: parameters[name] for name in deck} == deck
    other = experiment.RECIPES["deck"].machine(784, n_hidden=500, random_state=1)
    assert not np.array_equal(rbm.components_, other.components_)


def test_the_deck_starts_from_these_parameters(tmp_path):
    images = experiment.load_images("digits")
    parameters = {"n_hidden": 4, "n_iter": 1, "random_state": 0, "learning_rate": 1e-9}
    recipe = experiment.RECIPES["deck"]
    recipe = recipe._replace(settings={k: v for k, v in recipe.settings.items() if k != "learning_rate"})
    rbm = recipe.machine(64, **parameters)
    before = rbm.components_.copy()
    rbm.fit(images.train)
    np.testing.assert_allclose(rbm.components_, before, atol=1e-6)
    np.testing.assert_allclose(rbm.intercept_visible_, 0, atol=1e-6)


def test_test_images_are_not_learned():
    images = experiment.load_images("digits")
    rows = np.concatenate([images.train, images.test])
    np.testing.assert_array_equal(np.sort(rows.sum(1)), np.sort(load_digits().data.sum(1)))
    seen = {row.tobytes() for row in images.train}
    assert not any(row.tobytes() in seen for row in images.test)


def test_resume_goes_on_to_the_same_machine(trained, tmp_path, monkeypatch, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(tmp_path), *SMALL]
    train, draw_of = experiment.train, experiment._save

    def save_and_stop(display, path, title=""):
        draw_of(display, path, title)
        if path.name == "epoch_002.png":
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_save", save_and_stop)
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
    assert caught.value.code == 130
    captured = capsys.readouterr()
    assert "--resume" in captured.err.splitlines()[-1]
    assert "epochs: 2 of 3" in captured.out
    assert "log-likelihood, nats an image: " in captured.out
    assert experiment.LIKELIHOOD not in captured.out
    assert "interrupted after epoch 2 of 3" in (tmp_path / "report.html").read_text()
    seen = []
    monkeypatch.setattr(
        experiment, "train", lambda name, task, progress: train(name, task, lambda *a: seen.append(a[1]))
    )
    assert cli.main([*argv, "--resume"]) == 0
    assert seen == [3]
    assert len(list((tmp_path / "best").glob("epoch_*.png"))) == 4
    models = [joblib.load(folder / "best" / "model.joblib") for folder in (trained, tmp_path)]
    np.testing.assert_array_equal(models[0].components_, models[1].components_)


def test_resume_by_other_settings(trained, capsys):
    argv = ["train", "--recipe", "best", "--output-dir", os.fspath(trained), *SMALL, "--resume", "--k", "2"]
    assert "argument --resume" in (error := error_of(capsys, *argv))
    assert "k=1 (here 2)" in error


def test_ctrl_c_in_the_first_epoch_is_quiet(tmp_path):
    argv = ["train", "--n-hidden", "20000", "--k", "1000", "--output-dir", os.fspath(tmp_path)]
    run = subprocess.Popen(
        [sys.executable, "-c", f"from skrbm import cli; cli.main({argv!r})"], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "best" / "epoch_000.png").exists():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in error


def test_other_images(tmp_path):
    write_mnist(tmp_path, 60, 40)
    folder = tmp_path / "new" / "pic"
    argv = ["--data", os.fspath(tmp_path), "--output-dir", os.fspath(folder), "--pictures-every", "2", *SMALL]
    assert cli.main(["train", *argv]) == 0
    assert [path.name for path in sorted((folder / "best").glob("epoch_*"))] == [f"epoch_00{i}.png" for i in (0, 2, 3)]


def test_sample_and_complete(trained, tmp_path, monkeypatch, capsys):
    model, drawn = trained / "best" / "model.joblib", []

    class Display(experiment.SamplesDisplay):
        def plot(self, ax=None):
            drawn.append(self)
            return super().plot(ax)

    monkeypatch.setattr(experiment, "SamplesDisplay", Display)
    picture = tmp_path / "picture.png"
    chains = ["--steps", "5", "--output", os.fspath(picture)]
    assert cli.main(["sample", os.fspath(model), "--n", "6", "--values", "bits", *chains]) == 0
    rbm = joblib.load(model)
    np.testing.assert_array_equal(drawn[0].samples, rbm.sample(6, 5, random_state=0))
    assert cli.main(["sample", os.fspath(model), "--n", "6", *chains]) == 0
    np.testing.assert_array_equal(drawn[1].samples, rbm.reconstruct(drawn[0].samples))
    assert capsys.readouterr().out == f"wrote {picture}\n" * 2
    assert np.ptp(imread(picture)) > 0.5
    test = experiment.load_images("digits").test[:4].reshape(4, 8, 8)
    halves = {"lower": np.s_[:, 4:], "upper": np.s_[:, :4], "left": np.s_[:, :, :4], "right": np.s_[:, :, 4:]}
    for missing, half in halves.items():
        assert cli.main(["complete", os.fspath(model), "--n", "4", "--missing", missing, *chains]) == 0
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


def test_wrong_arguments(trained, tmp_path, capsys, monkeypatch):
    model, output = os.fspath(trained / "best" / "model.joblib"), os.fspath(tmp_path / "a.png")
    assert "--n-iter: must be a whole number" in error_of(capsys, "train", "--n-iter", "0")
    assert "--data: 'nowhere' is neither" in error_of(capsys, "train", "--data", "nowhere", "--output-dir", output)
    (tmp_path / "file").write_text("text")
    assert "--output-dir" in error_of(capsys, "train", "--output-dir", os.fspath(tmp_path / "file"))
    for command in ("sample", "complete"):
        assert "can't be loaded" in error_of(capsys, command, os.fspath(tmp_path / "file"), "--output", output)
        assert "can't be loaded" in error_of(capsys, command, os.fspath(tmp_path / "nothing"), "--output", output)
        assert "no folder" in error_of(capsys, command, model, "--output", "no-such-folder/a.png")
        assert "trajectory" in error_of(capsys, command, model, "--output", output, "--method", "trajectory_tempering")
    assert "image_shape" in error_of(capsys, "sample", model, "--output", output, "--image-shape", "3", "5")
    joblib.dump({"no": "machine"}, tmp_path / "file")
    assert "holds a dict" in error_of(capsys, "sample", os.fspath(tmp_path / "file"), "--output", output)
    write_mnist(tmp_path, 60, 20)
    assert "features" in error_of(capsys, "complete", model, "--data", os.fspath(tmp_path), "--output", output)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "skrbm[plots]"' in error_of(capsys, "train")


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    images = experiment.load_images("digits")
    rbm = experiment.RECIPES["best"].machine(64, n_hidden=4, n_iter=2).fit(images.train)
    with cli._progress() as show:
        for epoch in range(3):
            show("best", epoch, 2, rbm)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"best: loss {rbm.history_['loss'][-1]:.2f}" in shown
    assert "2/2" in shown
    assert "0:00:00" in shown


def test_the_page_shows_some_thirty_epochs():
    assert experiment._some([0]) == [0]
    assert experiment._some([0, 1, 2, 3]) == [0, 1, 2, 3]
    found = experiment._some(list(range(101)))
    assert found[:6] == [0, 1, 2, 3, 4, 5]
    assert found[-1] == 100
    assert 20 <= len(found) <= 32
    assert experiment._some([0, 7, 14, 15])[-2:] == [14, 15]
