"""What Airflow is told about the package is true."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import jsonschema

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.get_provider_info import get_provider_info


def test_it_fits_airflows_own_schema():
    airflow = Path(importlib.import_module("airflow").__file__).parent
    schema = json.loads((airflow / "provider_info.schema.json").read_text())
    assert list(jsonschema.validators.validator_for(schema)(schema).iter_errors(get_provider_info())) == []


def test_every_path_in_it_can_be_imported():
    info = get_provider_info()
    paths = [row["class-name"] for row in info["task-decorators"]] + info["cli"]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    for row in info["operators"] + info["sensors"] + info["bundles"] + info["triggers"]:
        for module in row["python-modules"]:
            importlib.import_module(module)


def test_every_option_has_a_reader_and_every_reader_an_option():
    options = get_provider_info()["config"]["pipetrack"]["options"]
    for name in options:
        assert callable(getattr(settings, name))


def test_defaults_are_those_of_the_readers(monkeypatch):
    options = get_provider_info()["config"]["pipetrack"]["options"]
    assert settings.delivery_deadline() == float(options["delivery_deadline"]["default"])
    assert settings.mode() == options["mode"]["default"]
    assert settings.tracking_location() == []
    assert settings.also_shown() == []
    assert settings.strict() is False
    assert settings.inner_stage_events() is True
    assert settings.smtp_conn_id() == options["smtp_conn_id"]["default"]
    assert settings.mask_fields() == []
