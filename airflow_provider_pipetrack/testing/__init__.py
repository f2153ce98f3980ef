"""Tests for a storage adapter of your own: pytest's, to be inherited from.

A test file such as this one tries your adapter for everything that pipetrack relies upon::

    import pytest

    from airflow_provider_pipetrack.testing import StorageContract
    from company.storage import MyStorage


    class TestMyStorage(StorageContract):
        @pytest.fixture
        def open_storage(self, tmp_path):
            return lambda: MyStorage(f"my_storage||{tmp_path}/tracking.json")

``open_storage`` returns a function that gives a new adapter; all adapters of one test share one storage, which is empty
when the test begins. Nothing else of pipetrack needs pytest.
"""

from airflow_provider_pipetrack.testing.contract import StorageContract

__all__ = ["StorageContract"]
