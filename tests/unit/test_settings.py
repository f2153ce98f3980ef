"""The options of ``[pipetrack]``, and what is said when one is wrong."""

from __future__ import annotations

import pytest

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.settings import SettingError


def set_option(monkeypatch, name, value):
    monkeypatch.setenv(f"AIRFLOW__PIPETRACK__{name.upper()}", value)


def test_a_chain_is_a_json_list_or_one_location(monkeypatch):
    set_option(monkeypatch, "tracking_location", '["a||b", "c||d"]')
    assert settings.tracking_location() == ["a||b", "c||d"]
    set_option(monkeypatch, "tracking_location", "sqlite||/x/y.db")
    assert settings.tracking_location() == ["sqlite||/x/y.db"]


def test_what_is_shown_too_is_locations_and_chains(monkeypatch):
    set_option(monkeypatch, "also_shown", '["a||b", ["c||d", "e||f"]]')
    assert settings.also_shown() == [["a||b"], ["c||d", "e||f"]]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("tracking_location", '["a"', r"\[pipetrack\] tracking_location = '\[…': expected a JSON list of texts"),
        pytest.param("tracking_location", "[" * 100_000, "expected a JSON list of texts", id="deep"),
        ("tracking_location", "[1]", "expected a JSON list of texts"),
        ("also_shown", "sqlite||/x.db", r"\[pipetrack\] also_shown = '\[…': expected a JSON list of locations"),
        ("also_shown", '[["a||b"], []]', "or of chains of them, such as"),
        ("also_shown", "[1]", "expected a JSON list of locations"),
        (
            "mode",
            "both",
            r"mode = 'both': expected fallback or mirror; set it in airflow.cfg or as AIRFLOW__PIPETRACK__MODE",
        ),
        ("delivery_deadline", "soon", "delivery_deadline = 'soon': expected seconds above 0 and up to 600"),
        ("delivery_deadline", "0", "expected seconds above 0"),
    ],
)
def test_a_wrong_option_is_named_with_what_was_expected(monkeypatch, option, value, message):
    set_option(monkeypatch, option, value)
    with pytest.raises(SettingError, match=message):
        getattr(settings, option)()


def test_files_of_this_host_are_under_airflow_home(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert settings.default_location() == f"sqlite||{tmp_path}/pipetrack/tracking.db||pipeline_tracking"
    assert settings.journal_dir() == tmp_path / "pipetrack" / "journal"
    set_option(monkeypatch, "journal_dir", "~/journal")
    assert settings.journal_dir().is_absolute()


@pytest.mark.parametrize(
    ("option", "default"), [(settings.strict, False), (settings.inner_stage_events, True)], ids=["strict", "inner"]
)
def test_a_word_that_is_neither_true_nor_false_is_named_once_and_the_default_is_taken(
    monkeypatch, caplog, option, default
):
    settings._complain.cache_clear()
    name = option.__name__
    for word, meant in (("True", True), ("yes", True), ("OFF", False), ("0", False), ("", default)):
        set_option(monkeypatch, name, word)
        assert option() is meant
    assert caplog.text == ""
    set_option(monkeypatch, name, "Ture")
    assert (option(), option()) == (default, default)
    assert caplog.messages == [
        f"pipetrack: [pipetrack] {name} = 'Ture': expected True or False; {default} is taken; "
        f"set it in airflow.cfg or as AIRFLOW__PIPETRACK__{name.upper()}"
    ]
