import numpy as np
import pytest
import torch

from skrbm.likelihood.exact import log_partition_exact
from skrbm.likelihood.log_partition import METHODS, log_partition, method_for
from skrbm.likelihood.result import LogPartitionWarning
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference
from tests.likelihood.test_annealed import from_halves


def test_a_warning_where_the_bracket_is_wider_than_asked():
    params = reference.random_params(6, 8, seed=1)
    samples = torch.from_numpy(reference.draw_v(params, 50))

    def run(max_width):
        return log_partition(
            from_halves(params), "ais", stream=Stream(0), n_temperatures=5, samples=samples, max_width=max_width
        )

    with pytest.warns(LogPartitionWarning, match=r"bracket of log Z, \d.*1e-06 nats") as caught:
        found = run(1e-6)
    assert caught[0].filename == __file__
    assert abs(found.upper - found.lower) < 1
    assert found.value == run(1.0).value


@pytest.mark.parametrize("method", METHODS)
def test_log_partition_by_name(method):
    params = reference.random_params(8, 12, scale=0.5)
    path = AnnealingPath(params, params.b * 0.5)
    found = log_partition(path, method, stream=Stream(0), n_chains=50, rungs=[path.at(0.3), path.at(0.6)])
    truth = log_partition_exact(params)
    if method in ("auto", "exact"):
        assert (found.method, found.value, found.lower, found.upper) == ("exact", truth, truth, truth)
    else:
        assert found.method == method
        assert abs(found.value - truth) < 4 * found.standard_error
    assert found.seconds > 0


def test_auto_anneals_what_is_too_large_to_enumerate():
    params = reference.random_params(21, 22, scale=0.1)
    found = log_partition(from_halves(params), stream=Stream(0), n_temperatures=500)
    assert (found.method, found.n_temperatures) == ("ais", 500)
    assert abs(found.value - log_partition_exact(params)) < 4 * found.standard_error


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "wish"}, "'wish' is not known"),
        ({"method": "ais", "schedule": "steep"}, "schedule='steep' must be 'uniform', 'adaptive'"),
        ({"method": "ais", "schedule": [0.0, 0.7, 0.5, 1.0]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": [0.0, 0.5]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": [0.0, np.nan, 1.0]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": [[0.0, 1.0]]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": None}, "schedule=None must be"),
        ({"method": "trajectory_tempering"}, "store_trajectory=True"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        log_partition(from_halves(reference.random_params()), **settings)


def test_what_auto_stands_for():
    for shape, method in (((20, 30), "exact"), ((30, 20), "exact"), ((21, 21), "ais")):
        assert method_for(reference.random_params(*shape), "auto") == method
    assert method_for(reference.random_params(21, 21), "exact") == "exact"
