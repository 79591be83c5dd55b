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


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "5.00 ± 1.00 nats (AIS, effective sample size 90 of 100, from above 7.00)"),
        ({"upper": None}, "5.00 ± 1.00 nats (AIS, effective sample size 90 of 100)"),
        (
            {
                "value": 60.6098,
                "standard_error": 0.0353,
                "lower": 60.6098,
                "upper": None,
                "effective_sample_size": 35.26,
            },
            "60.61 ± 0.04 nats (AIS, effective sample size 35.3 of 100)",
        ),
        (
            {"value": 60.60985, "standard_error": 0.00035, "lower": 60.60985, "upper": None},
            "60.6099 ± 0.0003 nats (AIS, effective sample size 90 of 100)",
        ),
        (
            {"standard_error": math.inf, "upper": None, "n_chains": 1},
            "5.00 ± inf nats (AIS, effective sample size 90 of 1)",
        ),
        ({"standard_error": 0.0, "upper": None}, "5.00 ± 0.00 nats (AIS, effective sample size 90 of 100)"),
        ({"standard_error": 1e-30, "upper": None}, "5.000000 ± 0.000000 nats (AIS, effective sample size 90 of 100)"),
        (
            {"method": "parallel_tempering", "effective_sample_size": None, "lower": None},
            "5.00 ± 1.00 nats (parallel tempering, from above 7.00)",
        ),
        (
            {"method": "parallel_tempering", "effective_sample_size": None, "lower": 5.1, "upper": 4.9},
            "5.00 ± 1.00 nats (parallel tempering, from below 5.10, from above 4.90)",
        ),
        (
            {"method": "reverse_ais", "lower": None, "upper": 5.0},
            "5.00 ± 1.00 nats (reverse AIS, effective sample size 90 of 100)",
        ),
        ({"method": "exact", "value": 60.60985654862854}, "60.609857 nats (exact)"),
    ],
)
def test_results_print_themselves(changes, text):
    found = replace(FOUND, **changes)
    assert repr(found) == str(found) == f"{found}" == text


def test_results_are_numbers_where_one_is_wanted():
    assert float(FOUND) == FOUND.value
    assert f"{FOUND:.2f}" == "5.00"
    assert format(FOUND, "8.1f") == "     5.0"
    with pytest.raises(ValueError, match="format code"):
        format(FOUND, "d")
