"""The options of ``[pipetrack]``, and what is said when one is wrong."""

from __future__ import annotations

import configparser
import logging
import os

import pytest

from airflow_provider_pipetrack import compat, settings
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
    settings._say_once.cache_clear()
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


@pytest.mark.parametrize("option", ["strict", "inner_stage_events", "mask_fields"])
def test_an_option_that_each_transfer_asks_for_and_airflow_cannot_read_is_named_and_counts_as_not_set(
    monkeypatch, caplog, option
):
    def airflow_option(section, name):
        raise configparser.InterpolationSyntaxError(name, section, "'%' must be followed by '%' or '('")

    settings._say_once.cache_clear()
    monkeypatch.delenv(f"AIRFLOW__PIPETRACK__{option.upper()}", raising=False)
    monkeypatch.setattr(compat, "airflow_option", airflow_option)
    assert getattr(settings, option)() == {"strict": False, "inner_stage_events": True, "mask_fields": []}[option]
    assert f"pipetrack: [pipetrack] {option} = '…': a % in airflow.cfg has to be written %%" in caplog.text


def test_a_task_names_in_its_own_log_what_the_process_that_it_was_forked_from_has_named(monkeypatch, caplog):
    settings._say_once.cache_clear()
    set_option(monkeypatch, "strict", "Ture")
    settings.strict()
    caplog.clear()
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with caplog.at_level(logging.ERROR):
        settings.strict()
        settings.strict()
    assert len(caplog.messages) == 1
