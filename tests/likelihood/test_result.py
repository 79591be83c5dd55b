import math
import warnings
from dataclasses import replace

import pytest

from skrbm.likelihood.result import LogPartition, LogPartitionWarning, warn_if_few_count, warn_if_wide


@pytest.mark.parametrize(
    ("estimate", "interval"),
    [
        (LogPartition(5.0, 0.0, 5.0, 5.0, None, 0, 0, 0.1, "exact"), (5.0, 5.0)),
        (LogPartition(5.0, math.inf, 5.0, None, 1.0, 1, 100, 0.1, "ais"), (-math.inf, math.inf)),
        (LogPartition(5.0, 1.0, 5.0, None, 90.0, 100, 100, 0.1, "ais"), (5 - 1.98422, 5 + 1.98422)),
    ],
)
def test_interval(estimate, interval):
    assert estimate.interval() == pytest.approx(interval, abs=1e-5)
    with pytest.raises(ValueError, match=r"level=95 must lie between 0 and 1"):
        estimate.interval(95)


FOUND = LogPartition(5.0, 1.0, 5.0, 7.0, 90.0, 100, 100, 0.1, "ais")


@pytest.mark.parametrize(("n", "size", "warns"), [(100, 9.9, True), (100, 10.1, False), (5, 1.9, True), (2, 2, False)])
def test_a_warning_where_few_chains_count(n, size, warns):
    found = replace(FOUND, n_chains=n, effective_sample_size=size)
    if warns:
        with pytest.warns(LogPartitionWarning, match=rf"Only {size} of {n} chains count.*log Z by ais") as caught:
            warn_if_few_count(found)
        assert caught[0].filename == __file__
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_if_few_count(found)


@pytest.mark.parametrize(
    ("lower", "upper", "max_width", "message"),
    [
        (5.0, 7.0, 1.9, r"bracket of log Z, 5.00 … 7.00, is wider than 1.9 nats"),
        (7.0, 5.0, 1.9, r"lies the wrong way round by more than 1.9 nats"),
        (5.0, 7.0, 2.0, None),
        (5.0, 7.0, None, None),
        (5.0, None, 0.1, None),
    ],
)
def test_a_warning_where_the_bracket_is_wide(lower, upper, max_width, message):
    found = replace(FOUND, lower=lower, upper=upper)
    if message is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_if_wide(found, max_width)
    else:
        with pytest.warns(LogPartitionWarning, match=message) as caught:
            warn_if_wide(found, max_width)
        assert caught[0].filename == __file__
