"""Which tests run, and on how many processes and threads."""

import os
from importlib.util import find_spec

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: processes that share the cores take one thread each
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """None for tests that are named one by one; else a process for each core, as far as they keep it busy."""
    import joblib

    if all("::" in argument for argument in config.args):
        return 0
    return min(joblib.cpu_count(), 8)  # which minds the limits of a container


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that need a CUDA device, and the examples of callbacks, where there are none of these."""
    import torch

    def is_possible(item):
        if item.get_closest_marker("cuda"):
            return torch.cuda.is_available()
        return not item.name.startswith("skrbm.callbacks") or find_spec("sklearn.callback") is not None

    config.hook.pytest_deselected(items=[item for item in items if not is_possible(item)])
    items[:] = [item for item in items if is_possible(item)]
