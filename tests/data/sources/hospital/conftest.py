"""The export that most tests of this folder join with a table."""

import pytest
from export import write_export


@pytest.fixture(scope="session")
def src(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export"))
