"""What the tests of tracking share."""

from __future__ import annotations

import pytest

from tests.unit.tracking.site import Site


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    for store in made.stores:
        store.close()
