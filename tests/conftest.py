import torch


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that need a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    needs_cuda = [item for item in items if item.get_closest_marker("cuda")]
    config.hook.pytest_deselected(items=needs_cuda)
    items[:] = [item for item in items if item not in needs_cuda]
