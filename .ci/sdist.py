"""Build the sdist of what is in git, see that it holds all of that, and run tests of it in the folder it unpacks to.

With the setuptools of this environment, and without network. What stands behind goes to pytest instead of the tests
that need the most beside the package: the reference, the data, the map.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE = ("PKG-INFO", "setup.cfg", "skrbm.egg-info/")  # by setuptools
TESTS = ["tests/machines/test_restricted.py", "tests/support/test_tables.py", "tests/estimators/test_saving.py"]


def tracked() -> list[str]:
    """Files that are in git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name]


def build(files: list[str], source: Path, out: Path) -> Path:
    """The sdist of copies of these files, which nothing that lies about can get into."""
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, stdout=subprocess.DEVNULL)
    (path,) = out.glob("*.tar.gz")
    return path


with tempfile.TemporaryDirectory() as folder:
    files, place = tracked(), Path(folder)
    for name in ("source", "out", "unpacked"):
        (place / name).mkdir()
    with tarfile.open(build(files, place / "source", place / "out")) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    missing, more = sorted({*files} - found), sorted(name for name in found - {*files} if not name.startswith(MADE))
    if missing or more:
        sys.exit(f"The sdist lacks {missing} and has {more} too much. Change MANIFEST.in.")
    print(f"The sdist has all {len(files)} files")
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
    sys.exit(subprocess.run(tests, cwd=unpacked, env=os.environ | {"PYTHONPATH": str(unpacked)}).returncode)
