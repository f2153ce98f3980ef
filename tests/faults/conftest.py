"""The servers that are made to fail."""

from tests.integration.storage.conftest import (  # noqa: F401  fixtures
    black_hole,
    mongo,
    place_of,
    postgres,
    s3,
    snowflake,
)
