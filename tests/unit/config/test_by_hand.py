"""What a hand-written Dag says of a pipeline: one hash in every process, and nothing in it that is a secret."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
from airflow_provider_pipetrack.config.by_hand import HandWrittenPipeline, said_by
from airflow_provider_pipetrack.config.transfer import transfer_from_mapping

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=4)
    | st.frozensets(st.text(max_size=3), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


class Size(str, Enum):
    SMALL = "small"


class Unknown:
    """Printed with its address."""


def written(*rows, dag_id="d", others=None):
    """A pipeline of these transfers, each waiting for the one before."""
    transfers = {row["name"]: transfer_from_mapping(row) for row in rows}
    names = list(transfers)
    waits_for = {name: names[max(0, place - 1) : place] for place, name in enumerate(names)}
    said = {name: {**said_by(transfer, {}), "depends_on": waits_for[name]} for name, transfer in transfers.items()}
    return HandWrittenPipeline("p", dag_id, transfers, said, others or {})


def reordered(value, draw):
    """The same value, with the keys of its dicts in another order."""
    if isinstance(value, dict):
        return {key: reordered(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [reordered(item, draw) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5), st.data())
def test_the_order_of_keys_and_of_transfers_does_not_count(metadata, data):
    row = {"name": "load", "stage_i_details": "shop", "audit_metadata": metadata, "max_retry_attempts": 2}
    first = written(row, {"name": "clean"}, others={"a": [], "b": []})
    again = written(reordered(row, data.draw), {"name": "clean"}, others={"b": [], "a": []})
    assert again.config_hash == first.config_hash
    swapped = HandWrittenPipeline(
        "p", "d", first.transfers, dict(reversed(list(first.rows.items()))), first.other_tasks
    )
    assert swapped.config_hash == first.config_hash
    assert [transfer.name for transfer in swapped.stage_transfers] == ["load", "clean"]


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
def test_what_is_kept_is_plain_json(metadata):
    content = written({"name": "load", "audit_metadata": metadata}).public_content()
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_processes_with_other_hash_seeds_and_addresses_find_the_same():
    script = (
        "from tests.unit.config.test_by_hand import Unknown, written\n"
        "def check(): ...\n"
        "made = [bytearray(n) for n in range(len(str(hash('seed'))) * 100)]\n"
        "names = {'north', 'south', 'east', 'west'}\n"
        "metadata = {'sets': names, 'of': [check, Unknown(), Unknown, len], 'keys': dict.fromkeys(names, 1)}\n"
        "print(written({'name': 'load', 'stage_i_details': 'shop', 'audit_metadata': metadata}).config_hash)\n"
    )
    found = set()
    for seed in ("0", "1", "2", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )
        found.add(done.stdout.strip() or done.stderr)
    assert len(found) == 1
    assert len(found.pop()) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"stage_i_details": "market"},
        {"rollback": "shutil.rmtree"},
        {"audit_metadata": {"limit": 2}},
        {"retry_delay": timedelta(seconds=5)},
        {"transfer_process_email_alerts": ["a@example.com"]},
        {"audit": {"on_mismatch": "warn"}},
        {"stage_i_plus_1_details": {"literal": "f(x)"}},
    ],
)
def test_what_a_transfer_says_makes_the_hash(changed):
    row = {"name": "load", "stage_i_details": "shop", "audit_metadata": {"limit": 1}}
    assert written({**row, **changed}).config_hash != written(row).config_hash


@pytest.mark.parametrize(
    "name", ["stage_i_details", "max_retry_attempts", "audit_metadata", "transfer_process_email_alerts", "pool"]
)
def test_to_say_a_default_is_to_say_nothing(name):
    default = getattr(StageTransfer(), name)
    assert written({"name": "load", name: default}).config_hash == written({"name": "load"}).config_hash


def test_dags_edges_and_pipelines_make_the_hash():
    load = {"name": "load"}
    hashes = [
        written(load).config_hash,
        written(load, dag_id="other").config_hash,
        written(load, others={"join": []}).config_hash,
        written(load, {"name": "clean"}).config_hash,
        written({"name": "clean"}, load).config_hash,
    ]
    assert len(set(hashes)) == len(hashes)


def test_neither_secrets_nor_arguments_of_operators_are_kept_or_hashed():
    def row(secret):
        audit = {"config": {"api_token": secret, "tables": [{"password": secret}]}}
        return {
            "name": "load",
            "operator_args": {"key": secret},
            "audit_metadata": {"dsn_secret": secret},
            "audit": audit,
        }

    first, second = written(row("hush")), written(row("hush-Pa55"))
    assert first.config_hash == second.config_hash
    assert "hush" not in json.dumps(first.public_content())
    assert "hush" not in json.dumps(written({"name": "a", "audit_metadata": {"pin": "hush"}}).public_content(("PIN",)))


def test_a_task_that_is_called_as_a_secret_is_keeps_its_place():
    others = {"refresh_token": ["load_secrets"], "load_secrets": ["load"], "pin": ["refresh_token"]}
    content = written({"name": "load"}, others=others).public_content(("pin", "task"))
    assert content["other_tasks"] == others


def test_values_of_python_become_plain():
    metadata = {
        "size": Size.SMALL,
        Size.SMALL: 1,
        "day": date(2026, 1, 31),
        "at": datetime(2026, 1, 31, tzinfo=timezone.utc),
        "wait": timedelta(minutes=5),
        "path": PurePosixPath("/data"),
        "price": Decimal("1.50"),
        "nan": float("nan"),
        "big": 2**70,
        "call": test_values_of_python_become_plain,
        "part": functools.partial(print),
        "class": Unknown,
        "object": Unknown(),
        "deep": {3: "three", (1, 2): "pair", None: "none"},
    }
    (row,) = written({"name": "load", "audit_metadata": metadata}).public_content()["stage_transfers"]
    assert row["audit_metadata"] == {
        "size": "small",
        "small": 1,
        "day": "2026-01-31",
        "at": "2026-01-31T00:00:00Z",
        "wait": "PT5M",
        "path": "/data",
        "price": "1.50",
        "nan": None,
        "big": str(2**70),
        "call": "<test_values_of_python_become_plain>",
        "part": "<partial>",
        "class": "<Unknown>",
        "object": "<Unknown>",
        "deep": {"3": "three", "[1, 2]": "pair", "None": "none"},
    }


def test_what_contains_itself_ends():
    metadata: dict = {"a": 1}
    metadata["self"] = metadata
    assert len(written({"name": "load", "audit_metadata": metadata}).config_hash) == 64


def test_a_pipeline_file_could_say_the_same():
    row = {
        "name": "load",
        "stage_i_details": "shop",
        "retry_delay": timedelta(minutes=5),
        "stage_i_plus_1_details": {"literal": "f(x)"},
        "audit": {"timeout": timedelta(hours=1)},
    }
    content = written(row, {"name": "clean"}).public_content()
    assert content.pop("other_tasks") == {}
    read = PipelineConfig.from_text(json.dumps(content), "d.json")
    assert [transfer.model_copy(update={"depends_on": None}) for transfer in read.stage_transfers] == [
        transfer_from_mapping(row),
        StageTransfer(name="clean"),
    ]
    assert read.stage_transfers[1].depends_on == ("load",)
