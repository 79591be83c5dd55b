import os

import pytest

from skrbm.commands import cli
from tests.commands.running import SMALL_TRAINING


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    """A folder of both recipes on digits; what is run in it must leave it as it is."""
    pytest.importorskip("sklearn.callback")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("trained") / "pic"
    assert cli.main(["train", "--recipe", "both", "--output-dir", os.fspath(folder), *SMALL_TRAINING]) == 0
    return folder
