"""Machines of tables with columns of every kind, from the command line on."""

import os

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")

from skrbm.commands import cli
from skrbm.commands.model_files import read_machine
from skrbm.commands.table_files import Rows, read_rows, write_rows
from skrbm.commands.table_machines import filled_in, new_machine, rows_from, values_for
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.estimators.gaussian import GaussianRBM
from skrbm.estimators.tabular import CategoricalRBM, MixedRBM
from tests.commands.running import error_of

NAMES = ["age", "town", "smokes", "children", "visits"]
DTYPES = ["float64", "object", "bool", "int64", "int64"]


def people(n=200):
    """A table in which the old live in Ulm and go to the doctor's, and the young don't."""
    rng = np.random.default_rng(0)
    old = rng.random(n) < 0.5
    town = np.where(rng.random(n) < 0.9, np.where(old, "Ulm", "Bonn"), "Kiel").astype(object)
    age = np.where(old, 70.0, 30.0) + rng.normal(0, 4, n).round(2)
    return Rows(NAMES, [age, town, rng.random(n) < 0.3, rng.integers(0, 4, n), 20 * old + rng.integers(0, 15, n)])


@pytest.fixture(scope="module", params=[".csv", ".tsv", ".parquet"])
def folder(request, tmp_path_factory):
    """A folder with a table, of that ending, and the machine that learned it."""
    ending = request.param
    pytest.importorskip("safetensors")
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("people")
    write_rows(folder / f"rows{ending}", people())
    argv = ["--n-hidden", 4, "--n-iter", 30, "--output", folder / "model.safetensors"]
    assert run("fit", folder / f"rows{ending}", *argv) == 0
    return folder, ending


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The file of a machine of such a table."""
    folder = tmp_path_factory.mktemp("machine")
    write_rows(folder / "rows.csv", people())
    assert run("fit", folder / "rows.csv", "--n-hidden", 2, "--n-iter", 1, "--output", folder / "a.joblib") == 0
    return folder / "a.joblib"


@pytest.fixture
def table(tmp_path):
    write_rows(tmp_path / "rows.csv", people(60))
    return tmp_path / "rows.csv"


def run(*argv):
    return cli.main([os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in argv])


def fail(capsys, *argv):
    return error_of(capsys, *(str(word) for word in argv))


SMALL = ["--n-hidden", 2, "--n-iter", 1]


def test_fit_keeps_what_the_columns_are(folder):
    model = MixedRBM.load(folder[0] / "model.safetensors")
    assert [(one.name, one.dtype) for one in model.columns_] == list(zip(NAMES, DTYPES, strict=True))
    assert [one.kind for one in model.columns_] == ["gaussian", "categorical", "binary", "categorical", "gaussian"]
    assert [one.labels.tolist() for one in model.columns_[1:3]] == [["Bonn", "Kiel", "Ulm"], [False, True]]
    assert model.columns_[3].labels.tolist() == [0, 1, 2, 3]
    assert model.feature_names_in_.tolist() == NAMES


def test_the_machine_is_that_of_a_frame(folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dict(zip(NAMES, people().columns, strict=True)))
    expected = MixedRBM(4, n_iter=30, random_state=0).fit(frame)
    model = MixedRBM.load(folder[0] / "model.safetensors")
    np.testing.assert_array_equal(model.components_, expected.components_)
    np.testing.assert_array_equal(model.scale_, expected.scale_)
    np.testing.assert_allclose(model.log_likelihood(frame), expected.log_likelihood(frame))


def test_score(folder, tmp_path, capsys):
    some = people().in_order_of(NAMES[::-1])
    write_rows(tmp_path / f"some{folder[1]}", some)
    assert run("score", folder[0] / "model.safetensors", tmp_path / f"some{folder[1]}") == 0
    model = read_machine(folder[0] / "model.safetensors")[0]
    nats = model.log_likelihood(values_for(people(), model, model.columns_))
    figure = f"{nats.mean():.3f} ± {nats.std(ddof=1) / np.sqrt(200):.3f} (log Z: exact)"
    assert capsys.readouterr().out == f"rows: 200\ncolumns: 5\nmean log-likelihood, nats a row: {figure}\n"


def test_sample(folder, tmp_path):
    output = tmp_path / f"samples{folder[1]}"
    assert run("sample", folder[0] / "model.safetensors", "-n", 300, "--steps", 50, "--output", output) == 0
    rows = read_rows(output)
    assert rows.names == NAMES
    assert [str(column.dtype) for column in rows.columns] == DTYPES
    age, town, smokes, children, visits = rows.columns
    assert set(town) <= {"Bonn", "Kiel", "Ulm"}
    assert set(children) <= {0, 1, 2, 3}
    assert 0 < smokes.mean() < 1
    assert age[town == "Ulm"].mean() > age[town == "Bonn"].mean() + 20
    assert visits[town == "Ulm"].mean() > visits[town == "Bonn"].mean() + 10


@pytest.mark.parametrize("values", ["probabilities", "draws", "bits"])
def test_complete(folder, tmp_path, capsys, values):
    path, output = tmp_path / f"gaps{folder[1]}", tmp_path / f"full{folder[1]}"
    ages, visits = np.array([71.125, np.nan, 28.0]), np.array([np.nan, 4.0, np.nan])
    town, smokes = np.array([None, "Bonn", None], object), np.array([True, None, False], object)
    write_rows(path, Rows(["visits", "children", "age", "smokes", "town"], [visits, visits, ages, smokes, town]))
    argv = ["--output", output, "--values", values, "--steps", 200]
    if values == "probabilities":  # the table has 4 children in a row, which no row of fit had
        assert "unknown values in column 'children': 4" in fail(
            capsys, "complete", folder[0] / "model.safetensors", path, *argv
        )
    write_rows(path, Rows(["visits", "children", "age", "smokes", "town"], [visits, visits / 2, ages, smokes, town]))
    assert run("complete", folder[0] / "model.safetensors", path, *argv) == 0
    assert capsys.readouterr().out == f"filled 8 cells in 3 of 3 rows\nwrote {output}\n"
    rows = read_rows(output)
    assert rows.names == ["visits", "children", "age", "smokes", "town"]
    assert [str(column.dtype) for column in rows.columns] == ["int64", "int64", "float64", "bool", "object"]
    visits, children, age, smokes, town = rows.columns
    assert (visits[1], children[1], age[0], age[2], smokes[0], smokes[2]) == (4, 2, 71.125, 28.0, True, False)
    assert set(children) <= {0, 1, 2, 3}
    assert age[1] < 50
    assert visits[0] > visits[2]
    if values == "probabilities":
        assert list(town) == ["Ulm", "Bonn", "Bonn"]


def test_kinds_are_told(table, capsys):
    named = ["--gaussian", "children", "--categorical", "smokes", "age"]
    assert run("fit", table, *SMALL, *named, "--output", table.parent / "a.joblib") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == ["rows: 60", "columns: 5"]
    noise = [f"{float(f'{scale:.3g}'):g}" for scale in joblib.load(table.parent / "a.joblib").scale_]
    assert lines[2] == f"gaussian: children (noise {noise[0]}), visits (noise {noise[1]})"
    assert lines[3] == "categorical: age (59 values), town (Bonn, Kiel, Ulm), smokes (False, True)"
    assert lines[4] == "hidden units: 2"
    assert "skrbm fit: warning: Columns that number or name the rows tell nothing of others. Leave out 'age'." in err


def test_settings_that_are_not_named_are_those_of_the_machine(table, monkeypatch):
    seen = {}

    def fit(self, X):
        seen.update(self.get_params())
        raise KeyboardInterrupt

    monkeypatch.setattr(MixedRBM, "fit", fit)
    with pytest.raises(SystemExit):
        run("fit", table, "--output", table.parent / "a.joblib")
    columns = {"binary": [2], "gaussian": [0, 4], "categorical": [1, 3]}
    assert seen == {**MixedRBM().get_params(), "random_state": 0, "columns": columns}


@pytest.mark.parametrize("ending", [".safetensors", ".joblib"])
@pytest.mark.parametrize(
    ("machine", "expected", "columns"),
    [
        ("gaussian", GaussianRBM, ["age", "children", "smokes"]),
        ("categorical", CategoricalRBM, ["town", "children", "smokes"]),
        ("mixed", MixedRBM, ["smokes", "town"]),
        ("bernoulli", BernoulliRBMTorch, ["smokes"]),
        ("auto", BernoulliRBMTorch, ["smokes"]),
        ("auto", MixedRBM, ["age", "children"]),
    ],
)
def test_machines_that_are_named(tmp_path, capsys, recwarn, ending, machine, expected, columns):
    pytest.importorskip("safetensors")
    rows, model = people(60).in_order_of(NAMES), tmp_path / f"a{ending}"
    rows = Rows(columns, [rows.columns[NAMES.index(name)] for name in columns])
    write_rows(tmp_path / "rows.csv", rows)
    assert run("fit", tmp_path / "rows.csv", "--machine", machine, *SMALL, "--output", model) == 0
    read, names = read_machine(model)
    assert isinstance(read, expected)
    assert names == columns
    assert not recwarn.list  # such as one of parameters that the file doesn't have
    assert run("score", model, tmp_path / "rows.csv") == 0
    samples = tmp_path / "samples.csv"
    assert run("sample", model, "-n", 5, "--steps", 3, "--output", samples) == 0
    assert run("score", model, samples) == 0
    assert run("complete", model, samples, "--steps", 3, "--output", tmp_path / "full.csv") == 0
    assert (tmp_path / "full.csv").read_text() == samples.read_text()  # there was nothing to fill in
    assert "filled 0 cells in 0 of 5 rows" in capsys.readouterr().out


def test_what_was_learned_from_frames_in_python(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dict(zip(NAMES, people(60).columns, strict=True)))
    joblib.dump(MixedRBM(2, n_iter=1, random_state=0).fit(frame), tmp_path / "a.joblib")
    assert run("sample", tmp_path / "a.joblib", "-n", 9, "--steps", 2, "--output", tmp_path / "a.csv") == 0
    rows = read_rows(tmp_path / "a.csv")
    assert (rows.names, len(rows.places)) == (NAMES, 9)
    assert run("score", tmp_path / "a.joblib", tmp_path / "a.csv") == 0


def test_columns_without_names_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = np.array([["1", 2.5], ["02", 1.5], ["x", 0.25]] * 5, object)
    joblib.dump(MixedRBM(2, columns={"gaussian": [1]}, n_iter=1, random_state=0).fit(X), "a.joblib")
    (tmp_path / "a.csv").write_text("code,size\n1,2.5\n02,1\n1,3\n")
    assert run("score", "a.joblib", "a.csv") == 0
    assert run("sample", "a.joblib", "-n", 3, "--steps", 2) == 0  # a table, as no picture could be
    assert read_rows(tmp_path / "samples.csv").names == ["x0", "x1"]
    (tmp_path / "b.csv").write_text("a\n1\n")
    capsys.readouterr()
    assert "it has 1 columns, but the machine has 2" in fail(capsys, "score", "a.joblib", "b.csv")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--gaussian", "agee"], "--gaussian: there is no column 'agee' among 'age', 'town', 'smokes'"),
        (["--gaussian", "age", "--binary", "age"], "--gaussian: 'age' is named more than once"),
        (["--gaussian", "age", "age"], "--gaussian: 'age' is named more than once"),
        (["--gaussian", "town"], "rows.csv: line 2, column 'town': 'Bonn' is no number"),
        (["--binary", "town"], "Column 'town' is to be binary, but has 3 different values"),
        (["--machine", "gaussian"], "rows.csv: line 2, column 'town': 'Bonn' is no number"),
        (["--machine", "bernoulli"], "rows.csv: line 2, column 'town': 'Bonn' is no number"),
        (["--machine", "categorical", "--binary", "age"], "--binary: only for --machine mixed, not categorical"),
    ],
)
def test_wrong_arguments_of_fit(table, capsys, argv, words):
    assert words in fail(capsys, "fit", table, *argv, "--output", table.parent / "a.joblib")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,town\n", "it has no rows"),
        ("", "it has no rows"),
        ("age,age\n1.5,2.5\n", "more than one column is called 'age'"),
        ("age,town\n1.5,\n2.5,\n3.5,\n", "Column 'town' has no values at all. Leave it out"),
        ("age,town\n1.5,Ulm\ninf,Bonn\n2,Ulm\n", "Column 'age' contains infinity"),
    ],
)
def test_tables_that_are_not_learned(tmp_path, capsys, text, words):
    (tmp_path / "a.csv").write_text(text)
    assert words in fail(capsys, "fit", tmp_path / "a.csv", "--output", tmp_path / "a.joblib")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["score", "{}", "town.csv"], "town.csv: it has unknown values in column 'town': 'Wien'. Those of fit were"),
        (["complete", "{}", "town.csv"], "Leave such rows out, or let `skrbm complete` fill in"),
        (["score", "{}", "age.csv"], "age.csv: line 2, column 'age': 'old' is no number"),
        (["score", "{}", "less.csv"], "it lacks 'visits'"),
        (["sample", "{}", "--output", "a.png"], "--output: a MixedRBM has rows of tables"),
        (
            ["sample", "{}", "--values", "probabilities"],
            "--values: probabilities are of bits, and a MixedRBM",
        ),
        (["complete", "{}"], "TABLE: this machine is of a table of 5 columns: give a TABLE"),
    ],
)
def test_wrong_arguments_of_others(machine, tmp_path, capsys, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    header = ",".join(NAMES)
    for name, line in [("town", "1.5,Wien,True,1,2"), ("age", "old,Ulm,True,1,2")]:
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{line}\n")
    (tmp_path / "less.csv").write_text("age,town,smokes,children\n1.5,Ulm,True,1\n")
    assert words in fail(capsys, *(word.format(machine) for word in argv))


def test_a_table_is_filled_in_without_a_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    old, lines, towns = rng.random(200) < 0.5, ["age,town,member"], []
    for is_old in old:
        towns.append("Ulm" if is_old else "Bonn")
        cells = [f"{rng.integers(20, 30) + 40 * is_old}.5", towns[-1], str(bool(is_old))]
        cells[rng.integers(3)] = "NA" if rng.random() < 0.5 else ""
        lines.append(",".join(cells))
    (tmp_path / "gaps.csv").write_text("\n".join(lines))
    run("complete", "gaps.csv", "--output", "filled.csv")
    assert "filled 200 cells in 200 of 200 rows" in capsys.readouterr().out
    filled = [line.split(",") for line in (tmp_path / "filled.csv").read_text().splitlines()]
    assert filled[0] == ["age", "town", "member"]
    for before, after in zip(lines[1:], filled[1:], strict=True):
        assert all(cell in ("", "NA") or cell == new for cell, new in zip(before.split(","), after, strict=True))
    assert np.mean([row[1] == town for row, town in zip(filled[1:], towns, strict=True)]) > 0.95
    assert {row[2] for row in filled[1:]} == {"True", "False"}
    assert "columns without any value can't be filled in. Leave out 'a'" in fail_of_empty(tmp_path, capsys)
    (tmp_path / "numbers.csv").write_text("a,b\n1.5,3\n2.5,\n,7\n3.5,7.5\n")
    run("complete", "numbers.csv", "--output", "filled.csv", "--force")
    assert all(all(line.split(",")) for line in (tmp_path / "filled.csv").read_text().splitlines())


@pytest.mark.parametrize("values", ["probabilities", "draws"])
def test_whole_numbers_are_filled_in_by_whole_numbers(tmp_path, monkeypatch, values):
    monkeypatch.chdir(tmp_path)
    size = np.random.default_rng(0).normal(size=60)
    cells = [[str(round(100 + 10 * x)), f"{x:.2f}"] for x in size]
    for place in range(0, 60, 3):
        cells[place][place % 2] = ""
    (tmp_path / "gaps.csv").write_text("\n".join(["whole,broken", *map(",".join, cells)]))
    run("complete", "gaps.csv", "--output", "filled.csv", "--values", values)
    filled = [line.split(",") for line in (tmp_path / "filled.csv").read_text().splitlines()[1:]]
    assert all("." not in row[0] for row in filled)
    assert any("." in filled[place][1] for place in range(3, 60, 6))


def fail_of_empty(tmp_path, capsys):
    (tmp_path / "empty.csv").write_text("a,b\n,1.5\n,2.5\n")
    return fail(capsys, "complete", tmp_path / "empty.csv", "--output", tmp_path / "a.csv")


def test_numbers_are_as_fine_as_their_noise():
    rbm = GaussianRBM(2, n_iter=1, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 3)) * [1e-6, 1, 1e6])
    rows = rows_from(np.array([[1.23456789e-6, 1.23456789, 1234567.89]]), rbm, ["a", "b", "c"])
    small, middle, large = (float(column[0]) for column in rows.columns)
    assert 1e-9 < abs(small - 1.23456789e-6) + 2e-9 < 1e-8
    assert middle in (1.23, 1.235)
    assert large == 1234568


def test_filling_keeps_the_form_of_what_is_given():
    given = Rows(["a", "b", "c"], [np.array([1.0, np.nan]), np.array([None, True], object), np.array([np.nan] * 2)])
    full = Rows(["a", "b", "c"], [np.array([0, 3]), np.array([0, 1]), np.array(["x", "y"], object)])
    columns = filled_in(given, full).columns
    assert [column.tolist() for column in columns] == [[1, 3], [False, True], ["x", "y"]]
    assert [column.dtype.kind for column in columns] == ["i", "b", "O"]
    fraction = filled_in(given._replace(columns=[np.array([1.5, np.nan]), *given.columns[1:]]), full).columns[0]
    assert fraction.tolist() == [1.5, 3.0]


def test_rows_that_are_numbered():
    numbered = Rows(["id", "x"], [np.arange(5), np.linspace(0, 1, 5) ** 2], [""] * 5)
    with pytest.warns(UserWarning, match="number or name the rows tell nothing of others. Leave out 'id'"):
        new_machine(numbered, "auto", {}, {})
