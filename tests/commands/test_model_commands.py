"""`skrbm fit`, `complete`, `sample` and `score`, from the command line on."""

import os
import re
import signal
import sys
import warnings
from contextlib import nullcontext

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")
pytest.importorskip("matplotlib")

from matplotlib.image import imread

from skrbm.commands import cli, model_commands
from skrbm.commands import image_experiment as experiment
from skrbm.commands.images import load_images
from skrbm.commands.table_files import Rows, read_rows, write_rows
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
    assert cli.main([*argv, "--force"]) == 0
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
    assert f"argument MODEL: there is no file '{file}'\n" in error_of(capsys, command, os.fspath(file))
    assert "is a folder; name a file in it" in error_of(capsys, command, os.fspath(tmp_path))
    file.write_text("text")
    error = error_of(capsys, command, os.fspath(file), "--output", output)
    assert f"argument MODEL: '{file}' can't be loaded: it is no file of a machine" in error
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
    words = "--data: this machine has 64 features, but images of"
    assert words in error_of(capsys, "complete", model, "--data", os.fspath(tmp_path), "--output", output)


def test_images_that_are_not_square(tmp_path, capsys):
    path, rows = tmp_path / "rbm.joblib", np.eye(6)
    joblib.dump(BernoulliRBMTorch(2, n_iter=1, random_state=0).fit(rows), path)
    error = error_of(capsys, "sample", os.fspath(path), "--output", os.fspath(tmp_path / "a.png"))
    assert error.endswith("Give --image-shape HEIGHT WIDTH, or an --output that ends in .csv.\n")


# -- tables ------------------------------------------------------------------------------------------------------------

NAMES = ["bread", "butter", "tea", "coffee"]


@pytest.fixture(scope="module")
def baskets(tmp_path_factory):
    """A folder with a table of twins, bread and butter, tea and coffee; and the machine that learned it."""
    pytest.importorskip("safetensors")
    folder = tmp_path_factory.mktemp("baskets")
    rng = np.random.default_rng(0)
    twins = rng.integers(0, 2, (300, 2)).repeat(2, axis=1)
    write_rows(folder / "rows.csv", Rows(NAMES, list(twins.T)))
    argv = ["fit", os.fspath(folder / "rows.csv"), "--output", os.fspath(folder / "model.safetensors")]
    assert cli.main([*argv, "--n-hidden", "6", "--n-iter", "60", "--k", "2", "--random-state", "3"]) == 0
    return folder


def run(*argv):
    return cli.main([str(word) for word in argv])


def test_fit(baskets, tmp_path, capsys):
    assert run("fit", baskets / "rows.csv", "--n-hidden", 6, "--n-iter", 2, "--output", tmp_path / "a.safetensors") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[:4] == ["rows: 300", "columns: 4", "hidden units: 6", "epochs: 2 of 2"]
    rbm = BernoulliRBMTorch.load(tmp_path / "a.safetensors")
    assert rbm.feature_names_in_.tolist() == NAMES
    X = read_rows(baskets / "rows.csv").bits()
    del rbm.feature_names_in_
    assert f"mean log-likelihood of these rows, nats a row: {rbm.log_likelihood(X).mean():.3f} (exact)" in out
    assert "mean pseudo-log-likelihood of these rows, nats a row: -" in out
    assert out.splitlines()[-1] == f"wrote {tmp_path / 'a.safetensors'}"
    lines = err.splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["fit: epoch 1 of 2", "fit: epoch 2 of 2"]


def test_fit_takes_its_arguments(baskets):
    rbm = BernoulliRBMTorch.load(baskets / "model.safetensors")
    assert (rbm.n_hidden, rbm.n_iter, rbm.k, rbm.n_chains, rbm.random_state) == (6, 60, 2, 100, 3)
    assert not hasattr(rbm, "data_samples_")


def test_defaults_of_fit_are_those_of_the_estimator(baskets, tmp_path, monkeypatch):
    seen = {}

    def fit(self, X):
        seen.update(self.get_params())
        raise KeyboardInterrupt

    monkeypatch.setattr(BernoulliRBMTorch, "fit", fit)
    with pytest.raises(SystemExit):
        run("fit", baskets / "rows.csv", "--output", tmp_path / "a.safetensors")
    assert seen == {**BernoulliRBMTorch().get_params(), "random_state": 0}


def test_fit_without_safetensors(baskets, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    error = error_of(capsys, "fit", os.fspath(baskets / "rows.csv"), "--output", os.fspath(tmp_path / "a.safetensors"))
    assert 'pip install "skrbm[safetensors]", or let it end in .joblib' in error
    path = tmp_path / "a.joblib"
    assert run("fit", baskets / "rows.csv", "--n-hidden", 3, "--n-iter", 1, "--output", path) == 0
    rbm = joblib.load(path)
    assert rbm.feature_names_in_.tolist() == NAMES
    assert not hasattr(rbm, "data_samples_")
    assert run("score", path, baskets / "rows.csv") == 0


def test_fit_says_in_words_of_the_command_what_is_off(tmp_path, capsys):
    rows = np.random.default_rng(0).integers(0, 2, (2000, 1)).repeat(30, axis=1).astype(float)  # two deep modes
    write_rows(tmp_path / "rows.csv", Rows([f"c{i}" for i in range(30)], list(rows.T)))
    fit = ["fit", tmp_path / "rows.csv", "--output", tmp_path / "a.joblib", "--n-hidden", 4, "--n-iter", 2]
    assert run(*fit) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith("skrbm fit: warning: The machine is not to be trusted")
    words = (
        r"[(]--n-iter (is )?2[)], (more )?chains [(]--n-chains (is )?100[)] or (more )?Gibbs steps [(]--k (is )?1[)]"
    )
    assert re.search(words, line)
    assert "in Python, the machine's `diagnose` shows more" in line


def test_ctrl_c_keeps_what_fit_has_learned(baskets, tmp_path, monkeypatch, capsys):
    def stop(name, epoch, n_epochs, model):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(model_commands, "show_progress", lambda: nullcontext(stop))
    with pytest.raises(SystemExit) as caught:
        run("fit", baskets / "rows.csv", "--n-hidden", 3, "--n-iter", 9, "--output", tmp_path / "a.safetensors")
    assert caught.value.code == 130
    out, err = capsys.readouterr()
    assert "epochs: 2 of 9" in out
    assert "skrbm fit: warning: Training was interrupted after epoch 2 of 9" in err
    assert BernoulliRBMTorch.load(tmp_path / "a.safetensors").n_iter_ == 2


def test_gaps_are_summed_out(baskets, tmp_path, capsys):
    path, whole = tmp_path / "gaps.csv", tmp_path / "whole.csv"
    lines = (baskets / "rows.csv").read_text().splitlines()
    gaps = [f"{line.rpartition(',')[0]}," if i % 2 else line for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0], *gaps]))
    run("fit", path, "--n-hidden", 3, "--n-iter", 9, "--output", tmp_path / "a.safetensors")
    out = capsys.readouterr().out
    assert f"empty cells, summed out: {len(gaps) // 2}" in out
    run("score", baskets / "model.safetensors", path)
    of_gaps = float(re.search(r"nats a row: (-?[\d.]+)", capsys.readouterr().out)[1])
    whole.write_text("\n".join(lines))
    run("score", baskets / "model.safetensors", whole)
    assert of_gaps > float(re.search(r"nats a row: (-?[\d.]+)", capsys.readouterr().out)[1])


def test_complete_a_table(baskets, tmp_path, capsys):
    path, output = tmp_path / "gaps.csv", tmp_path / "filled.csv"
    path.write_text("tea,coffee,butter,bread\n1,,0,\n,0,,1\n1,1,0.123456789,0\n")  # in another order than was learned
    complete = ["complete", baskets / "model.safetensors", path, "--output", output, "--steps", 200]
    assert run(*complete) == 0
    assert capsys.readouterr().out == f"filled 4 cells in 2 of 3 rows\nwrote {output}\n"
    rows = read_rows(output)
    names, values = rows.names, rows.numbers()
    assert names == ["tea", "coffee", "butter", "bread"]
    np.testing.assert_array_equal(values.round(), [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    assert 0.5 < values[0, 1] < 1
    assert values[2, 2] == 0.123456789  # what was given stays to the last digit
    given = read_rows(path).numbers()
    np.testing.assert_array_equal(values[~np.isnan(given)], given[~np.isnan(given)])
    rbm = BernoulliRBMTorch.load(baskets / "model.safetensors")
    del rbm.feature_names_in_
    expected = rbm.complete(given[:, [3, 2, 0, 1]], n_steps=200, random_state=0)[:, [2, 3, 1, 0]]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert run(*complete, "--values", "bits", "--force") == 0
    assert np.isin(read_rows(output).numbers()[:2], [0, 1]).all()


def test_samples_as_a_table(baskets, tmp_path, capsys):
    output = tmp_path / "rows.csv"
    sample = ["sample", baskets / "model.safetensors", "-n", 50, "--steps", 30, "--output", output]
    assert run(*sample) == 0
    assert capsys.readouterr().out == f"wrote {output}\n"
    rows = read_rows(output)
    assert rows.names == NAMES
    rbm = BernoulliRBMTorch.load(baskets / "model.safetensors")
    samples = rbm.sample(50, 30, random_state=0)
    np.testing.assert_array_equal(rows.numbers(), samples)
    assert run(*sample, "--values", "probabilities", "--force") == 0
    del rbm.feature_names_in_
    np.testing.assert_allclose(read_rows(output).numbers(), rbm.reconstruct(samples), atol=1e-6)


def test_samples_of_a_machine_without_names(tmp_path):
    joblib.dump(BernoulliRBMTorch(2, n_iter=1, random_state=0).fit(np.eye(3)), tmp_path / "rbm.joblib")
    assert run("sample", tmp_path / "rbm.joblib", "-n", 2, "--steps", 2, "--output", tmp_path / "a.tsv") == 0
    assert read_rows(tmp_path / "a.tsv").names == ["x0", "x1", "x2"]


def test_where_samples_go_by_default(trained, baskets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sample = ["-n", 2, "--steps", 2]
    assert run("sample", baskets / "model.safetensors", *sample) == 0
    assert read_rows(tmp_path / "samples.csv").names == NAMES
    assert run("sample", baskets / "model.safetensors", *sample, "--image-shape", 2, 2) == 0
    assert run("sample", trained / "best" / "model.joblib", *sample, "--force") == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote samples.{ending}" for ending in ("csv", "png", "png")]


@pytest.mark.parametrize("ending", [".png", ".PNG", ".svg", ".pdf", ".eps", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"])
def test_endings_of_pictures(trained, tmp_path, capsys, ending):
    path = tmp_path / f"a{ending}"
    assert run("sample", trained / "best" / "model.joblib", "-n", 2, "--steps", 2, "--output", path) == 0
    assert path.stat().st_size > 100
    capsys.readouterr()
    error = error_of(capsys, "complete", os.fspath(trained / "best" / "model.joblib"), "--output", "a.npy")
    assert "--output: 'a.npy' must end in" in error
    assert ending.lower() in error


def test_a_picture_of_samples_with_names(baskets, tmp_path, drawn):
    assert run("sample", baskets / "model.safetensors", "-n", 2, "--output", tmp_path / "a.png") == 0
    assert list(drawn[0].feature_names) == NAMES


def test_score(baskets, tmp_path, capsys):
    rbm = BernoulliRBMTorch.load(baskets / "model.safetensors")
    del rbm.feature_names_in_
    X = read_rows(baskets / "rows.csv").bits()[:50]
    write_rows(tmp_path / "some.csv", Rows(NAMES[::-1], list(X[:, ::-1].T)))
    assert run("score", baskets / "model.safetensors", tmp_path / "some.csv") == 0
    nats = rbm.log_likelihood(X)
    figure = f"{nats.mean():.3f} ± {nats.std(ddof=1) / np.sqrt(50):.3f} (log Z: exact)"
    lines = ["rows: 50", "columns: 4", f"mean log-likelihood, nats a row: {figure}"]
    assert capsys.readouterr() == ("\n".join(lines) + "\n", "")
    write_rows(tmp_path / "one.csv", Rows(NAMES, list(X[:1].T)))
    assert run("score", baskets / "model.safetensors", tmp_path / "one.csv") == 0
    assert f"nats a row: {nats[0]:.3f} (log Z: exact)" in capsys.readouterr().out


def test_tempering_that_does_not_swap_is_told(baskets, tmp_path, capsys, monkeypatch):
    def sample(self, *args, **kwargs):
        warnings.warn("Samples by method='gibbs' are not to be trusted.", stacklevel=1)
        return np.zeros((1, 4))

    monkeypatch.setattr(BernoulliRBMTorch, "sample", sample)
    assert run("sample", baskets / "model.safetensors", "--output", tmp_path / "a.csv") == 0
    assert capsys.readouterr().err == ("skrbm sample: warning: Samples by --method gibbs are not to be trusted.\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fit", "{}/no.csv"], "argument TABLE: there is no file '{}/no.csv'"),
        (["fit", "{}/rows.xlsx"], "must end in .csv, .tsv or .parquet"),
        (["fit", "{}/rows.csv", "--output", "a.pkl"], "--output: 'a.pkl' must end in .safetensors or .joblib"),
        (["fit", "{}/rows.csv", "--output", "nowhere/a.joblib"], "there is no folder 'nowhere'"),
        (["fit", "{}/words.csv", "--machine", "bernoulli"], "words.csv: line 2, column 'tea': 'much' is no number"),
        (["score", "{}/model.safetensors", "{}/other.csv"], "it lacks 'coffee'; too many are 'cake'"),
        (["complete", "{}/model.safetensors", "{}/other.csv"], "it lacks 'coffee'; too many are 'cake'"),
        (["complete", "{}/model.safetensors", "{}/rows.csv", "--data", "digits"], "--data: only for images"),
        (["complete", "{}/model.safetensors", "{}/rows.csv", "-n", "3"], "--n: only for images"),
        (["complete", "{}/model.safetensors", "{}/rows.csv", "--missing", "left"], "--missing: only for images"),
        (["complete", "{}/model.safetensors", "{}/rows.csv", "--output", "a.png"], "must end in .csv"),
        (["complete", "{}/model.safetensors", "--output", "a.csv"], "name the TABLE to fill in"),
        (["complete", "{}/model.safetensors"], "this machine is of a table of 4 columns: give a TABLE"),
        (["complete", "{}/rows.csv", "{}/other.csv"], "MODEL: '{}/rows.csv' is a table. Name the file of the machine"),
        (["score", "no.joblib", "{}/rows.csv"], "argument MODEL: there is no file 'no.joblib'"),
        (["sample", "{}/model.safetensors", "--output", "s"], "--output: 's' must end in .csv, .tsv or .parquet, as a"),
        (["sample", "{}/model.safetensors", "--output", "s.npy"], "table does, or .png, .svg, .pdf, .eps, .jpg,"),
        (["sample", "{}/model.safetensors", "--output", "a.csv", "--image-shape", "2", "2"], "only for pictures"),
    ],
)
def test_wrong_arguments_for_tables(baskets, tmp_path, capsys, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    (baskets / "words.csv").write_text("bread,butter,tea,coffee\n1,1,much,0\n")
    (baskets / "other.csv").write_text("bread,butter,tea,cake\n1,1,0,0\n")
    assert words.format(baskets) in error_of(capsys, *(word.format(baskets) for word in argv))


@pytest.mark.parametrize(
    ("argv", "output"),
    [
        (["fit", "{}/rows.csv", "--n-hidden", "2", "--n-iter", "1"], "model.safetensors"),
        (["fit", "{}/rows.csv", "--n-hidden", "2", "--n-iter", "1", "--output", "a.joblib"], "a.joblib"),
        (["sample", "{}/model.safetensors", "-n", "2", "--steps", "2", "--output", "a.csv"], "a.csv"),
        (["sample", "{}/model.safetensors", "-n", "2", "--steps", "2", "--output", "a.png"], "a.png"),
        (["complete", "{}/model.safetensors", "gaps.csv", "--steps", "2"], "completed.csv"),
        (["complete", "{}/model.safetensors", "gaps.csv", "--steps", "2", "--output", "gaps.csv"], "gaps.csv"),
    ],
)
def test_an_output_is_not_overwritten_silently(baskets, tmp_path, capsys, monkeypatch, argv, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gaps.csv").write_text("bread,butter,tea,coffee\n1,,0,\n")
    argv = [word.format(baskets) for word in argv]
    if not (tmp_path / output).exists():
        assert run(*argv) == 0
        capsys.readouterr()
    before = (tmp_path / output).read_bytes()
    error = error_of(capsys, *argv)
    assert f"--output: '{output}' is there already. Overwrite it by --force, or name another file" in error
    assert (tmp_path / output).read_bytes() == before
    (tmp_path / output).write_bytes(before + (b"1,,,\n" if output == "gaps.csv" else b"old"))
    assert run(*argv, "--force") == 0
    assert not (tmp_path / output).read_bytes().endswith((b"old", b",\n"))


def test_columns_are_counted_where_they_have_no_names(tmp_path, capsys):
    joblib.dump(BernoulliRBMTorch(2, n_iter=1, random_state=0).fit(np.eye(3)), tmp_path / "rbm.joblib")
    (tmp_path / "a.csv").write_text("a,b\n1,0\n")
    error = error_of(capsys, "score", os.fspath(tmp_path / "rbm.joblib"), os.fspath(tmp_path / "a.csv"))
    assert "it has 2 columns, but the machine has 3" in error


def test_fit_without_callbacks(baskets, tmp_path, monkeypatch, capsys):
    def set_callbacks(self, *callbacks):
        raise NotImplementedError  # as with scikit-learn before 1.9

    monkeypatch.setattr(BernoulliRBMTorch, "set_callbacks", set_callbacks)
    argv = ["--n-hidden", 3, "--n-iter", 2, "--output", tmp_path / "a.safetensors"]
    assert run("fit", baskets / "rows.csv", *argv) == 0
    captured = capsys.readouterr()
    assert "epochs: 2 of 2" in captured.out
    assert captured.err == ""
