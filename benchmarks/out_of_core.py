"""Memory of `fit` on rows that are more than the process may have.

    python benchmarks/out_of_core.py [--limit 600] [--folder FOLDER]

Each fit is a process of its own with a hard limit: a control group's where one can be made (that needs root), which
counts the pages of files too; else RLIMIT_DATA, which counts what is not in files. The files are random zeros and ones
with a little structure, 784 columns of float32. Peaks are the largest values seen by looking every 20 ms: of the memory
that isn't a file's, and of all that is resident.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

N_FEATURES, CHUNK = 784, 4096
CGROUPS = {
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "cgroup.procs"),
    Path("/sys/fs/cgroup"): ("memory.max", "cgroup.procs"),
}
SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)


class FileBatches:
    """Rows of a file, some thousand at a time, each time it is iterated over."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        with open(self.path, "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            while data := file.read(CHUNK * N_FEATURES * 4):
                yield np.frombuffer(data, np.float32).reshape(-1, N_FEATURES)


def rows_of(kind, path):
    from skrbm.datasets import ParquetRows

    if kind == "array":
        return np.load(path)
    if kind == "memmap":
        return np.load(path, mmap_mode="r")
    return FileBatches(path) if kind == "batches" else ParquetRows(path.with_suffix(".parquet"), batch_rows=CHUNK)


def child(kind, path):
    """Run in the process that is limited."""
    import torch

    from skrbm import BernoulliRBMTorch

    torch.set_num_threads(1)
    if path.name != "nothing":
        BernoulliRBMTorch(64, n_iter=1, batch_size=1000, random_state=0).fit(rows_of(kind, path))


def write(path, n_bytes, parquet):
    """A file of about so many bytes."""
    rng = np.random.default_rng(0)
    n_rows = int(n_bytes / (4 * N_FEATURES))
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_FEATURES))
    for first in range(0, n_rows, CHUNK):
        part = rows[first : first + CHUNK]
        part[:] = rng.random(part.shape, np.float32) < rng.random((len(part), 1), np.float32)
    rows.flush()
    if parquet:
        write_parquet(rows, path.with_suffix(".parquet"))


def write_parquet(rows, path):
    import pyarrow as pa
    import pyarrow.parquet

    names = [f"p{i}" for i in range(N_FEATURES)]
    with pyarrow.parquet.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as writer:
        for first in range(0, len(rows), 4 * CHUNK):
            columns = [pa.array(column) for column in np.ascontiguousarray(rows[first : first + 4 * CHUNK].T)]
            writer.write_table(pa.table(dict(zip(names, columns, strict=True))))


def enter(file):
    file.write_text(str(os.getpid()))


def limited(limit):
    """What a child does to be limited, what it is by, and how to clean up."""
    for root, (file, procs) in CGROUPS.items():
        group = root / f"skrbm_{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return partial(enter, group / procs), "a control group", group.rmdir

    def set_limit():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    return set_limit, "RLIMIT_DATA", lambda: None


def peaks(argv, prepare):
    """Run a child; its status, seconds, and peaks in bytes."""
    began, highest, status = time.perf_counter(), {"RssAnon": 0, "VmRSS": 0}, Path("status")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(argv, preexec_fn=prepare, env=environment, stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in highest:
                highest[name] = max(highest[name], int(value.split()[0]) * 1024)
        time.sleep(0.02)
    return process.returncode, time.perf_counter() - began, highest


def main():
    if sys.argv[1:2] == ["child"]:
        return child(sys.argv[2], Path(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=600, help="MB")
    parser.add_argument("--folder", type=Path, help="for the files; a temporary one by default")
    parser.add_argument("--kinds", nargs="+", default=["array", "memmap", "batches", "parquet"])
    args = parser.parse_args()
    limit = args.limit * 10**6
    prepare, how, clean = limited(limit)
    print(f"limit {args.limit} MB by {how}; one epoch, 64 hidden units, one thread")
    print(f"{'rows':<10}{'MB of rows':>12}{'x limit':>9}{'peak, not files':>17}{'peak resident':>15}{'seconds':>9}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        this = [sys.executable, __file__, "child"]
        show("none", 0, 0, *peaks([*this, "array", f"{folder}/nothing"], prepare))
        for size in SIZES:
            path = Path(folder) / "rows.npy"
            write(path, size * limit, "parquet" in args.kinds)
            for kind in args.kinds:
                show(kind, path.stat().st_size, size, *peaks([*this, kind, os.fspath(path)], prepare))
    clean()
    return None


def show(kind, n_bytes, size, status, seconds, highest):
    ends = f"{seconds:9.1f}" if status == 0 else f"{'killed' if status < 0 else 'failed':>9}"
    anon, resident = (f"{highest[name] / 1e6:.0f} MB" for name in ("RssAnon", "VmRSS"))
    print(f"{kind:<10}{n_bytes / 1e6:>12.0f}{size:>9}{anon:>17}{resident:>15}{ends}", flush=True)


if __name__ == "__main__":
    main()
