"""Every function of a block of Python in README and documentation is called, as its page says that it is."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from airflow_provider_pipetrack import build_dag
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.content import describe_attempt
from airflow_provider_pipetrack.attempts.counts import reported
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.audits.engine import run_audit
from airflow_provider_pipetrack.notifications.channels import tell
from airflow_provider_pipetrack.notifications.outbox import Alert
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.own_functions import FunctionsAdapter
from airflow_provider_pipetrack.testing import StorageContract
from tests.integration.test_docs import PAGES, REPO, blocks, saved
from tests.integration.test_docs import folder as folder  # a fixture

KEY = RecordKey("orders", "r", "load")


def readme(folder, capsys):
    functions = importlib.import_module("orders_functions")
    assert functions.load_orders() == {"records_succeeded": 700, "records_failed": 0}
    assert audited(functions.compare_counts, {}) == "matched"
    (by_hand,) = (name for name, text in blocks(REPO / "README.md") if "@task.tracked" in text)
    importlib.import_module(by_hand.removesuffix(".py")).clean.function()
    assert (reported().records_succeeded, reported().records_failed) == (98, 2)


def alerts(folder, capsys):
    alert = Alert("id", "overdue", {**KEY.columns(), "pipeline_id": "orders"}, [], time.time())
    tell(alert, {"notifier": "a_notifier.Pager", "kwargs": {}}, timeout=1)
    assert capsys.readouterr().out == "paging: [pipetrack] orders: load takes longer than estimated\n"


def audits(folder, capsys):
    (row,) = yaml.safe_load((folder / "audited.yaml").read_text())["stage_transfers"]
    config = {**row["audit_metadata"], **row["audit"]["config"]}
    compare = importlib.import_module("audit_functions").compare_totals
    assert [audited(compare, {**config, "tolerance": most}) for most in (0.01, 0.001)] == ["matched", "mismatched"]


def audited(function, config):
    stages = {"source_stage": "a", "target_stage": "b"}
    return run_audit(function, **stages, audit_config=config, context={}).result.value


def content(folder, capsys):
    texts = described(build_dag(folder / "content.yaml"), "formatted")
    assert (texts.stage_i_details, texts.stage_i_plus_1_details) == ("retail_orders", "prod.customer")
    (folder / "orders.yaml").write_text("user_functions: filling_functions.py\nstage_transfers: [{name: load}]\n")
    dag = build_dag(folder / "orders.yaml")
    texts = described(dag, "load")
    assert (texts.stage_i_details, texts.stage_i_unique_identifier, texts.transfer_unique_id) == (
        "orders.source", "orders.source@r", "orders.source->orders.target@r",
    )  # fmt: skip
    assert audited(binding_of(dag).specs["load"].pipeline.functions.get("execute_audit"), {}) == "matched"


def described(dag, name):
    spec, key = binding_of(dag).specs[name], RecordKey(dag.dag_id, "r", name)
    ti = SimpleNamespace(task=dag.get_task(name), **key.columns(), try_number=1)
    context = {"dag": dag, "ti": ti, "run_id": "r", "ds": "2026-01-31"}
    return describe_attempt(spec, context, key, store_for(spec), goes_on=False).content


def own_tables(folder, capsys):
    importlib.import_module("try_functions")
    importlib.import_module("try_it")
    tried(importlib.import_module("my_tracking").FolderOfFiles("folder||tried"))


def tried(adapter):
    record = {**KEY.columns(), "pipeline_id": "orders", "transfer_status": "pending"}
    assert adapter.write_tracking_record(record)
    assert adapter.update_tracking_record(KEY.record_id, {"transfer_status": "completed"})
    assert adapter.read_tracking_records("orders") == [{**record, "transfer_status": "completed"}]


def pipelines(folder, capsys):
    functions = importlib.import_module("orders_functions")
    assert functions.load_orders(table="orders", ds="2026-01-31") == {"records_succeeded": 700, "records_failed": 3}
    functions.forget_orders(ds="2026-01-31")
    functions.publish()
    assert (reported().records_succeeded, reported().records_failed) == (700, 0)


def storages(folder, capsys):
    tried(importlib.import_module("my_storage").MyStorage("my_storage||tried.json"))
    functions = importlib.import_module("my_functions")
    record = {**KEY.columns(), "pipeline_id": "orders"}
    assert functions.tracking_storage_write(record, "shared_folder||records.json")
    assert functions.tracking_storage_read({"run_id": "r"}, "shared_folder||records.json") == [record]
    called = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_storage.py"]
    done = subprocess.run(called, cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout


def tracked_operator(folder, capsys):
    importlib.import_module("by_hand_dag").clean.function()
    assert (reported().records_succeeded, reported().records_failed) == (98, 0)


def tracking(folder, capsys):
    done = importlib.import_module("pipetrack_maintenance").maintain.function()
    assert (done["waiting"], done["unreachable"]) == (0, {})


CALLS = {
    "README.md": readme,
    "alerts.md": alerts,
    "audits.md": audits,
    "content.md": content,
    "own-tables.md": own_tables,
    "pipelines.md": pipelines,
    "storages.md": storages,
    "tracked-operator.md": tracked_operator,
    "tracking.md": tracking,
}
#: What a test calls in a process of its own.
ELSEWHERE = {("test_my_storage.py", "open_storage")}


class Written(StorageContract):
    """The contract for the storages that pages show; each is made of the blocks of its page."""

    @pytest.fixture
    def open_storage(self, folder, made):
        (page, name, place) = made
        saved(folder, REPO / "docs" / page)
        module = importlib.import_module(name)
        location = parse_location_string(f"shown||{folder / place}", {"shown"})
        if hasattr(module, "FolderOfFiles"):
            return lambda: module.FolderOfFiles(location.text)
        return lambda: FunctionsAdapter(location, module.tracking_storage_write, module.tracking_storage_read)


class TestOwnTablesFunctions(Written):
    @pytest.fixture
    def made(self):
        return "own-tables.md", "our_functions", "runs.db"


class TestOwnTablesClass(Written):
    @pytest.fixture
    def made(self):
        return "own-tables.md", "my_tracking", "records"


class TestStoragesFunctions(Written):
    @pytest.fixture
    def made(self):
        return "storages.md", "my_functions", "records"


def functions_of(page) -> set[tuple[str, str]]:
    """Return every function of a page's blocks, with the file that it stands in."""
    trees = [(name, ast.parse(text)) for name, text in blocks(page) if name.endswith(".py")]
    return {(name, node.name) for name, tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name) for page in PAGES if functions_of(page)],
)  # fmt: skip
def test_every_function_of_the_page_is_called(folder, page, capsys):
    saved(folder, page)
    called = set()

    def see(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(folder)):
            called.add((frame.f_code.co_filename.rpartition("/")[2], frame.f_code.co_name))

    for profile in (sys.setprofile, threading.setprofile):
        profile(see)
    try:
        CALLS[page.name](folder, capsys)
    finally:
        for profile in (sys.setprofile, threading.setprofile):
            profile(None)
    assert functions_of(page) - called - ELSEWHERE == set()
