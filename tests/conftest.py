from importlib.util import find_spec

import torch


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that need a CUDA device, and the examples of callbacks, where there are none of these."""

    def is_possible(item):
        if item.get_closest_marker("cuda"):
            return torch.cuda.is_available()
        return item.name != "skrbm.callbacks" or find_spec("sklearn.callback") is not None

    config.hook.pytest_deselected(items=[item for item in items if not is_possible(item)])
    items[:] = [item for item in items if is_possible(item)]
