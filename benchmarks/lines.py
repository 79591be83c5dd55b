"""Lines of code by wing, a folder or a file at the top of skrbm/: without blanks, comments and docstrings.

    python benchmarks/lines.py [BEFORE] AFTER

The arguments are checkouts. Beside the lines of each wing stand its longest function, `__init__` left out, and its
largest file, in lines of code too. A file that was at the top and has gone to a wing since counts there. The last line
is what imports and lists of names take of the total.
"""

import argparse
import ast
import io
import tokenize
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

from skrbm.support import as_text

WINGS = {  # what was at the top, and is in these wings now
    "support": ("randomness", "linear", "tables", "checks", "persistence"),
    "machines": ("units", "model"),
    "backends": ("products", "graphs"),
    "rows": ("batches", "sources"),
    "sampling": ("samplers", "tempering"),
    "likelihood": ("likelihood", "annealing", "pseudo_likelihood"),
    "diagnostics": ("diagnostics", "mixing", "quality"),
    "training": ("training", "run", "gradients", "schedules", "averaging", "trajectory", "monitor"),
    "estimators": ("_compat", "estimator", "inference", "checkpoints", "parameters"),
    "plots": ("plots",),
    "commands": ("cli", "comparison", "experiment", "report"),
}
WING_OF = {file: wing for wing, files in WINGS.items() for file in files}
SPLIT = {"persistence": ("estimators", "write_model")}  # from this function on it is that wing's
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
HEADS = ("lines", "longest function", "largest file")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(text, tree):
    """Numbers of the lines that have code."""
    rows, found = text.splitlines(), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTION) and ast.get_docstring(node, clean=False) is not None:
            found.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return {number for number in found if rows[number - 1].strip()}


def functions(node, name=""):
    """All functions by their qualified names, those in others too."""
    for child in ast.iter_child_nodes(node):
        inner = f"{name}{child.name}." if isinstance(child, ast.ClassDef | FUNCTION) else name
        if isinstance(child, FUNCTION) and child.name != "__init__":
            yield inner[:-1], child
        yield from functions(child, inner)


def is_list(node):
    """Whether a statement lists what a file offers."""
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def count(checkout):
    """Files and functions of each wing, and of all: {wing: ([(lines, name), ...], [(lines, name), ...])}."""
    wings = defaultdict(lambda: ([], []))
    for path in sorted((checkout / "skrbm").rglob("*.py")):
        folder, *rest = path.relative_to(checkout / "skrbm").parts
        tree = ast.parse(text := path.read_text(encoding="utf-8"))
        lines, named = code_lines(text, tree), list(functions(tree))
        wing = folder if rest else WING_OF.get(path.stem, folder)
        later, first = (wing, "") if rest else SPLIT.get(path.stem, (wing, ""))
        border = next((node.lineno for name, node in named if name == first), 0)
        for where, n in Counter(wing if line < border else later for line in lines).items():
            for files, _ in (wings[where], wings["total"]):
                files.append((n, path.name))
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) or is_list(node)]
        taken = {line for node in names for line in range(node.lineno, node.end_lineno + 1)}
        wings["imports"][0].append((len(lines & taken), path.name))
        for name, node in named:
            n = len(lines.intersection(range(node.lineno, node.end_lineno + 1)))
            for _, bodies in (wings[wing if node.lineno < border else later], wings["total"]):
                bodies.append((n, name))
    return wings


def cells(files, bodies):
    """Of a wing, under `HEADS`."""
    return [str(sum(n for n, _ in files)), *(f"{max(x)[0]:4} {max(x)[1]}" if x else "" for x in (bodies, files))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", type=Path)
    parser.add_argument("after", type=Path)
    args = parser.parse_args()
    counts = {when: count(path) for when, path in vars(args).items() if path}
    others = {wing for wings in counts.values() for wing in wings}.difference(WINGS, ["total", "imports"])
    rows = [["wing", *(f"{column} {when}" if args.before else column for column in HEADS for when in counts)]]
    for wing in [*WINGS, *sorted(others), "total", "imports"]:
        rows.append([wing, *chain(*zip(*(cells(*wings[wing]) for wings in counts.values()), strict=True))])
    print(as_text(rows, [not cell.startswith("lines") for cell in rows[0]], rule=True))


if __name__ == "__main__":
    main()
