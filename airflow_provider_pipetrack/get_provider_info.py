"""What Airflow is told about this package."""

from __future__ import annotations

from typing import Any

from airflow_provider_pipetrack.hooks.form import FIELDS, HIDDEN

_PACKAGE = "airflow_provider_pipetrack"


def _option(kind: str, default: str, description: str, example: str | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description for Airflow's provider manager."""
    from airflow_provider_pipetrack import __version__

    return {
        "package-name": "airflow-provider-pipetrack",
        "name": "pipetrack",
        "description": "Data pipelines from YAML files, with one tracking record per attempt that is never lost.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "pipetrack",
                "tags": ["software"],
            }
        ],
        "hooks": [{"integration-name": "pipetrack", "python-modules": [f"{_PACKAGE}.hooks.pipetrack"]}],
        "connection-types": [
            {
                "connection-type": "pipetrack",
                "hook-class-name": f"{_PACKAGE}.hooks.pipetrack.PipetrackHook",
                "hook-name": "pipetrack",
                "conn-fields": {name: dict(form) for name, form in FIELDS.items()},
                "ui-field-behaviour": {"hidden-fields": list(HIDDEN), "relabeling": {}},
            }
        ],
        "operators": [{"integration-name": "pipetrack", "python-modules": [f"{_PACKAGE}.operators.tracked"]}],
        "sensors": [
            {
                "integration-name": "pipetrack",
                "python-modules": [f"{_PACKAGE}.sensors.audit", f"{_PACKAGE}.sensors.ready"],
            }
        ],
        "triggers": [{"integration-name": "pipetrack", "python-modules": [f"{_PACKAGE}.triggers.ready"]}],
        "bundles": [{"integration-name": "pipetrack", "python-modules": [f"{_PACKAGE}.dag.bundle"]}],
        "task-decorators": [{"name": "tracked", "class-name": f"{_PACKAGE}.operators.decorator.tracked_task"}],
        "cli": [f"{_PACKAGE}.cli.airflow_commands.get_commands"],
        "config": {"pipetrack": {"description": "How tracking records are kept.", "options": _options()}},
    }


def _options() -> dict[str, Any]:
    return {
        "tracking_location": _option(
            "string",
            "",
            "JSON list of the locations that keep the records of pipelines which name none, in the order of "
            "preference. Empty: SQLite under AIRFLOW_HOME.",
            '["postgres||tracking||public||pipeline_tracking", "local_file||/var/lib/pipetrack/tracking.json"]',
        ),
        "also_shown": _option(
            "string",
            "",
            "JSON list of locations, or of chains of them, that pages and commands show beside `tracking_location` and "
            "the chains that are known on the host: for the api-server, where pipelines that run on other hosts keep "
            "records in locations of their own.",
            '["postgres@finance||tracking||public||pipeline_tracking", ["aws_s3||s3://logs/tracking/"]]',
        ),
        "mode": _option("string", "fallback", "`fallback`: the first location that answers; `mirror`: all of them."),
        "journal_dir": _option(
            "string",
            "",
            "Folder of the local journal, on a disk that outlives the worker's processes. Empty: under AIRFLOW_HOME.",
            "/var/lib/pipetrack/journal",
        ),
        "delivery_deadline": _option("float", "5.0", "Seconds that a task waits at most for its record's delivery."),
        "strict": _option(
            "boolean", "False", "Whether a transfer may only start when its tracking can be kept somewhere."
        ),
        "inner_stage_events": _option(
            "boolean",
            "True",
            "Whether a transfer without an audit emits the event of its target stage where another transfer of the "
            "file reads that. Airflow's API server logs a warning each time that no Dag is scheduled on the stage.",
        ),
        "smtp_conn_id": _option(
            "string", "smtp_default", "Airflow connection of the mail server that sends the alerts."
        ),
        "preload": _option(
            "string",
            "False",
            "Import clients of storages when Airflow starts, so that tasks forked from the scheduler (LocalExecutor) "
            "do not each pay for it. `True`: those of `tracking_location`; or types of location, separated by commas.",
            "postgres,aws_s3",
        ),
        "mask_fields": _option(
            "string",
            "",
            "More words that make the name of a key a secret's, separated by commas: its value is masked in "
            "configurations and in the JSON columns of records.",
        ),
    }
