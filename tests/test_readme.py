"""What README, the guide and CITATION.cff claim: figures that a benchmark has printed, links, the version.

What benchmarks have printed: pages that say by which command, when, with which version and on what."""

import re
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from skrbm._version import __version__

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").rglob("*.md"))]
RESULTS = sorted((ROOT / "benchmarks/results").glob("*.md"))
SPEC = spec_from_file_location("record", ROOT / "benchmarks/record.py")
record = module_from_spec(SPEC)
SPEC.loader.exec_module(record)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\d)")


def claims(text):
    """Numbers that are figures of a measurement: those in tables and prose that have decimals, or are negative."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`|Python \S+|torch \S+|scikit-learn [\d.]+( and [\d.]+)?", " ", text)
    return [number for number in NUMBER.findall(text) if "." in number or number.startswith("-")]


def measured(page):
    """Numbers in a page of results that a command printed: those of recorded blocks and of tables, not of prose."""
    outputs = [block["output"] or "" for block in record.BLOCK.finditer(page)]
    return NUMBER.findall("\n".join(outputs + re.findall(r"^\|.*$", page, re.MULTILINE)))


def is_printed(claim, printed):
    """Whether one of the printed numbers is this one, rounded to as many places."""
    places = len(claim.partition(".")[2])
    return any(
        len(number.partition(".")[2]) >= places and round(float(number), places) == float(claim) for number in printed
    )


def test_the_figures_of_readme_are_in_the_results():
    printed = {number for page in RESULTS for number in measured(page.read_text("utf-8"))}
    found = claims((ROOT / "README.md").read_text("utf-8"))
    assert len(found) >= 4, "nothing was looked at"
    assert [claim for claim in found if not is_printed(claim, printed)] == []


def test_a_figure_that_nothing_printed_is_found():
    assert claims("accuracy 0.973 with `0.1`, Python 3.11") == ["0.973"]
    assert is_printed("0.97", {"0.9688"})
    assert not is_printed("0.98", {"0.9688"})
    assert not is_printed("0.969", {"0.97"})
    assert measured("Of 0.5, say.\n\n`$ skrbm compare`\n\n```text\n0.7\n```\n\n| 0.8 |\n") == ["0.7", "0.8"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_a_citation_is_of_this_package_and_version():
    """CITATION.cff is YAML of one line each, but for its lists."""
    lines = re.findall(r"^(\S+): \"?(.+?)\"?$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    cited, project = dict(lines), tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cited["version"] == __version__
    assert cited["license"] == project["license"]
    assert cited["title"] == f"skrbm: {project['description'][0].lower()}{project['description'][1:]}"
    assert f"- name: {project['authors'][0]['name']}" in (ROOT / "CITATION.cff").read_text("utf-8")


STAMP = "2026-11-26, commit c8b13b3, Python 3.11.7, torch 2.13.0+cpu, scikit-learn 1.9.1; AMD EPYC, 2 cores; 38 s"
WHOLE = f"""# Bits

Prose.

`$ OMP_NUM_THREADS=1 python benchmarks/bits.py FOLDER/a`

```text
-84.11
```

*{STAMP}*

| by hand |
|---|
| -84.1 |
"""


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.stem)
def test_pages_of_results_are_whole(page):
    assert list(record.troubles(page.read_text("utf-8"))) == []


def test_the_index_has_all_pages_of_results():
    listed = re.findall(r"\]\(results/(\w+\.md)\)", (ROOT / "benchmarks/RESULTS.md").read_text("utf-8"))
    assert sorted(listed) == [page.name for page in RESULTS]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bits.py", "atoms.py", "no script of benchmarks/: benchmarks/atoms.py"),
        ("python benchmarks/bits.py", "bash bits.sh", "not python"),
        (
            "python benchmarks/bits.py FOLDER/a",
            "pytest tests/test_gone.py::test_it",
            "no such test: tests/test_gone.py",
        ),
        (
            "`$ OMP_NUM_THREADS=1 python benchmarks/bits.py FOLDER/a`\n",
            "",
            "output that no command stands above: -84.11",
        ),
        ("```text\n-84.11\n```\n", "", "no output"),
        ("2026-11-26, ", "", "no date"),
        (", commit c8b13b3", "", "no date, commit"),
        ("; AMD EPYC, 2 cores", "", "no date, commit, versions and hardware"),
        (f"*{STAMP}*\n", "", "no line with date"),
        ("FOLDER/a", "/home/me/tables/a", "path of a machine: /home/me/tables/a"),
        ("-84.11", "skrbm in /home/me/skrbm", "path of a machine: /home/me/skrbm"),
        ("Prose.", "`tests/test_gone.py::test_it` has it.", "no such file: tests/test_gone.py"),
    ],
)
def test_what_a_page_lacks_is_said(old, new, words):
    assert list(record.troubles(WHOLE)) == []
    assert old in WHOLE
    assert any(words in said for said in record.troubles(WHOLE.replace(old, new)))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A repository with one script, which prints its arguments, a variable, and where it runs."""
    (tmp_path / "benchmarks").mkdir()
    script = """import os, sys
if "fail" in sys.argv: sys.exit("no")
print(sys.argv[1:], os.environ.get("N"), os.getcwd(), sys.executable)
"""
    (tmp_path / "benchmarks/echo.py").write_text(script, "utf-8")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "git", lambda *words: "c8b13b3" if "rev-parse" in words else "")
    monkeypatch.setenv("SKRBM_TABLES", "/far/away")
    return tmp_path / "page.md"


def test_record_writes_what_commands_print_in_place(bench):
    old = "`$ N=1 python benchmarks/echo.py one FOLDER/a`\n\n```text\nold\n```\n\n*when*\n"
    bench.write_text(f"# A page\n\n{old}\n| by hand |\n\n`$ python benchmarks/echo.py two`\n\nThe end.\n", "utf-8")
    record.record(bench)
    first, second = record.BLOCK.finditer(text := bench.read_text("utf-8"))
    assert first["output"] == "['one', 'FOLDER/a'] 1 . python\n"
    assert second["output"] == "['two'] None . python\n"
    assert list(record.troubles(text)) == []
    assert "old" not in text
    assert text.startswith("# A page\n\n`$ N=1")
    assert "*\n\n| by hand |\n\n`$ python benchmarks/echo.py two`\n\n```text\n" in text
    assert text.endswith("*\n\nThe end.\n")


def test_record_runs_only_what_is_asked_for(bench):
    bench.write_text("`$ python benchmarks/echo.py one`\n\n`$ python benchmarks/echo.py two`\n", "utf-8")
    record.record(bench, only="two")
    assert [block["output"] for block in record.BLOCK.finditer(bench.read_text("utf-8"))] == [
        None,
        "['two'] None . python\n",
    ]
    with pytest.raises(SystemExit, match="no command with 'three'"):
        record.record(bench, only="three")


@pytest.mark.parametrize(
    ("command", "words"),
    [("python benchmarks/echo.py fail", "ended with 1"), ("python benchmarks/echo.py CHECKOUT", "set SKRBM_BEFORE")],
)
def test_a_command_that_fails_leaves_the_page_as_it_was(bench, command, words):
    bench.write_text(page := f"`$ {command}`\n\n```text\nold\n```\n\n*{STAMP}*\n", "utf-8")
    with pytest.raises(SystemExit, match=words):
        record.record(bench)
    assert bench.read_text("utf-8") == page


def test_check_says_which_page_is_not_whole(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.md").write_text(WHOLE.replace(f"*{STAMP}*", ""), "utf-8")
    monkeypatch.setattr(sys, "argv", ["record.py", "--check", str(tmp_path / "page.md")])
    assert record.main() == 1
    assert "page.md: OMP_NUM_THREADS=1 python benchmarks/bits.py FOLDER/a: no date" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["record.py", "--check", str(ROOT / "benchmarks/results/two_modes.md")])
    assert record.main() == 0
