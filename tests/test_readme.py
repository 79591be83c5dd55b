"""What README, the guide and CITATION.cff claim: figures that a benchmark has printed, links, the version."""

import re
import tomllib
from pathlib import Path

import pytest

from skrbm._version import __version__

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").rglob("*.md"))]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\d)")


def claims(text):
    """Numbers that are figures of a measurement: those in tables and prose that have decimals, or are negative."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`|Python \S+|torch \S+|scikit-learn [\d.]+( and [\d.]+)?", " ", text)
    return [number for number in NUMBER.findall(text) if "." in number or number.startswith("-")]


def is_printed(claim, printed):
    """Whether one of the printed numbers is this one, rounded to as many places."""
    places = len(claim.partition(".")[2])
    return any(
        len(number.partition(".")[2]) >= places and round(float(number), places) == float(claim) for number in printed
    )


def test_the_figures_of_readme_are_in_the_results():
    printed = {
        n for page in (ROOT / "benchmarks/results").glob("*.md") for n in NUMBER.findall(page.read_text("utf-8"))
    }
    found = claims((ROOT / "README.md").read_text("utf-8"))
    assert len(found) >= 4, "nothing was looked at"
    assert [claim for claim in found if not is_printed(claim, printed)] == []


def test_a_figure_that_nothing_printed_is_found():
    assert claims("accuracy 0.973 with `0.1`, Python 3.11") == ["0.973"]
    assert is_printed("0.97", {"0.9688"})
    assert not is_printed("0.98", {"0.9688"})
    assert not is_printed("0.969", {"0.97"})


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
