"""Python's collector rests while very much is made, and is then as it was."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from airflow_provider_pipetrack.collector import collector_paused
from airflow_provider_pipetrack.storage.clients import import_client
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter


@collector_paused()
def fail_at_rest():
    raise ValueError("at work" if gc.isenabled() else "at rest")


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_rests_and_is_then_as_it_was(was_on):
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(ValueError, match="at rest"):
            fail_at_rest()
        assert gc.isenabled() is was_on
    finally:
        gc.enable()


def test_a_rest_within_a_rest_goes_on_until_the_outer_one_ends():
    with collector_paused():
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_child_that_is_forked_meanwhile_has_its_own_collector_at_work():
    assert gc.isenabled()
    with collector_paused():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_rests_while_a_client_is_imported(tmp_path, monkeypatch):
    (tmp_path / "client_that_looks.py").write_text("import gc\nat_work = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        import_client(
            make_adapter(parse_location_string("sqlite||/x"), connections={}, adapters={}),
            "Looking",
            "looking",
            "client_that_looks",
        )
        assert sys.modules["client_that_looks"].at_work is False
        assert gc.isenabled()
    finally:
        sys.modules.pop("client_that_looks", None)
