"""Python's collector rests while very much is made, and is then as it was."""

from __future__ import annotations

import gc
import os

import pytest

from airflow_provider_pipetrack.collector import collector_paused


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
