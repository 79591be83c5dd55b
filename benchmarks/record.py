"""Run the commands of a page of results again and put what they print in its place, or check that pages are whole.

    python benchmarks/record.py benchmarks/results/two_modes.md [--only WORDS]
    python benchmarks/record.py --check [PAGE …]

A page is Markdown by hand around recorded blocks, which are a command, what it printed, and when, with which version
and on what:

    `$ OMP_NUM_THREADS=1 python benchmarks/two_modes.py`

    ```text
    exact share of the first mode: 0.6018; 2000 chains of 1000 steps
    ```

    *2026-11-26, commit c8b13b3, Python 3.11.7, torch 2.13.0, scikit-learn 1.9.1; AMD EPYC, 2 cores; 41 s*

For a new block write the first line alone. Commands run at the root of the repository, one after another; a page is
written after each. `--only` takes those whose command has these words. A "+" after the commit: skrbm/ or a benchmark
had changes that are in no commit. A line in italics also stands below tables that were put together by hand.

In commands FOLDER is the folder of binary tables, which SKRBM_TABLES names, PYTHON an interpreter that has rbms and
learnergy (SKRBM_PEERS), CHECKOUT a version before (SKRBM_BEFORE); MNIST is found by SKRBM_MNIST. Pages keep the words.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "benchmarks/results").glob("*.md"))
PLACEHOLDERS = {"FOLDER": "SKRBM_TABLES", "PYTHON": "SKRBM_PEERS", "CHECKOUT": "SKRBM_BEFORE"}
BLOCK = re.compile(
    r"^`\$ (?P<command>[^`\n]+)`\n(?:\n```text\n(?P<output>.*?)^```\n(?:\n\*(?P<stamp>[^*\n]+)\*\n)?)?", re.M | re.S
)
FENCE = re.compile(r"^```(.*)\n(?:.*\n)*?```$", re.M)
STAMP = re.compile(
    r"\d{4}-\d\d-\d\d, commit [0-9a-f]{7,12}\+?, Python \d[\w.]*, torch \d[\w.+]*, scikit-learn \d[\w.]*; "
    r"[^;]*\b\d+ cores?\b[^;]*(?:; \d+ s)?"
)
FILE = re.compile(r"`((?:benchmarks|docs|skrbm|tests)/[\w/]+\.\w+)")
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:Users|home|mnt|opt|root|srv|tmp|usr|var|work)/\S*|\b[A-Z]:\\\S*")


def parsed(command):
    """Variables set in front of a command, and its words."""
    words, variables = shlex.split(command), {}
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        name, _, variables[name] = words.pop(0).partition("=")
    return variables, words


def trouble_of(command):
    """What is wrong with a command, in words; nothing if it can be run."""
    words = parsed(command)[1]
    if words[:1] == ["python"]:
        script = words[1] if len(words) > 1 else ""
        if not (script.startswith("benchmarks/") and (ROOT / script).is_file()):
            return f"no script of benchmarks/: {script}"
    elif words[:1] == ["pytest"]:
        missing = [w for w in words[1:] if ".py" in w and not (ROOT / w.partition("::")[0]).is_file()]
        return f"no such test: {missing[0]}" if missing else ""
    elif words[:1] != ["skrbm"]:
        return "not python benchmarks/…, skrbm … or pytest …"
    return ""


def troubles(text):
    """What keeps a page from being whole, in words."""
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        command = block["command"]
        if trouble_of(command):
            yield f"{command}: {trouble_of(command)}"
        if not (block["output"] or "").strip():
            yield f"{command}: no output; run record.py on the page"
        elif not STAMP.fullmatch(block["stamp"] or ""):
            yield f"{command}: no date, commit, versions and hardware below it: {block['stamp']}"
    inside = {block.start("output") for block in blocks}
    for fence in FENCE.finditer(text):
        if fence.start() + len(f"```{fence[1]}\n") not in inside:
            yield f"output that no command stands above: {fence[0].splitlines()[1][:60]}"
    if not any(STAMP.fullmatch(line[1:-1]) for line in text.splitlines() if line.startswith("*")):
        yield "no line with date, commit, versions and hardware"
    yield from (f"path of a machine: {found[0]}" for found in MACHINE_PATH.finditer(text))
    yield from (f"no such file: {name}" for name in FILE.findall(text) if not (ROOT / name).exists())


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def hardware():
    """Processor and graphics card, by their names."""
    import torch

    info = Path("/proc/cpuinfo")
    fields = dict(re.findall(r"^(.*?)\s*: (.*)$", info.read_text(), re.M)) if info.exists() else {}
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cards = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([name, f"{n} core{'s' * (n > 1)}", *cards])


def stamp():
    """When, with which version and on what."""
    changed = git("status", "--porcelain", "--", "skrbm", "benchmarks/*.py")
    versions = f"Python {platform.python_version()}, torch {version('torch')}, scikit-learn {version('scikit-learn')}"
    commit = git("rev-parse", "--short=7", "HEAD")
    return f"{date.today()}, commit {commit}{'+' * bool(changed)}, {versions}; {hardware()}"


def output_of(command):
    """What a command prints on standard output, with words in the place of paths of this machine."""
    variables, words = parsed(command)
    folders = {}
    for placeholder, variable in PLACEHOLDERS.items():
        if any(placeholder in word.split("/") for word in words):
            if variable not in os.environ:
                raise SystemExit(f"{placeholder} in `{command}`: set {variable} to its path.")
            folders[placeholder] = os.environ[variable]
    words = ["/".join(folders.get(part, part) for part in word.split("/")) for word in words]
    words[:1] = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
    imports = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PYTHONPATH": imports} | variables, stdout=subprocess.PIPE, text=True
    )
    if run.returncode:
        raise SystemExit(f"`{command}` ended with {run.returncode}; its block stays as it was.\n{run.stdout}")
    shown = run.stdout
    for word, path in {**folders, "python": sys.executable, ".": str(ROOT)}.items():
        shown = shown.replace(path, word)
    return "\n".join(line.rstrip() for line in shown.splitlines()).strip("\n")


def record(page, only=""):
    """Run the commands of a page, those with these words, and write what they print into it."""
    commands = [block["command"] for block in BLOCK.finditer(page.read_text("utf-8")) if only in block["command"]]
    if not commands:
        raise SystemExit(f"{page} has no command with {only!r}." if only else f"{page} has no commands.")
    for command in commands:
        if trouble_of(command):
            raise SystemExit(f"`{command}`: {trouble_of(command)}")
    for command in commands:
        print(f"$ {command}", flush=True)
        line, began = stamp(), time.perf_counter()
        shown = output_of(command)
        block = f"`$ {command}`\n\n```text\n{shown}\n```\n\n*{line}; {time.perf_counter() - began:.0f} s*\n"
        text = page.read_text("utf-8")  # which may have been edited while the command ran
        page.write_text(BLOCK.sub(lambda old: block if old["command"] == command else old[0], text), "utf-8")  # noqa: B023
        print(shown, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--only", default="", metavar="WORDS", help="commands that have these words")
    parser.add_argument("--check", action="store_true", help="run nothing; status 1 if a page is not whole")
    args = parser.parse_args()
    if args.check:
        found = [f"{page.name}: {words}" for page in args.pages or PAGES for words in troubles(page.read_text("utf-8"))]
        print("\n".join(found) or f"{len(args.pages or PAGES)} pages are whole")
        return bool(found)
    if not args.pages:
        parser.error("name a page, or --check")
    for page in args.pages:
        record(page, args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
