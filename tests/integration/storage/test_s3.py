"""What is special about S3: runs that are put together, names of objects, and what a person reads when it refuses."""

from __future__ import annotations

import gc
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
from botocore.config import Config
from botocore.exceptions import UnknownServiceError
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.storage import s3 as module
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.storage.s3_client import make_client, what_s3_is_read_fast
from airflow_provider_pipetrack.testing.events import attempt, facts
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.storage_servers import BIN, S3_CONN_ID, environment, free_port, make_bucket, running, s3_connection

SECRET = "s3cret-Pa55word"
CHANGE = change_from_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})


@pytest.fixture
def place(place_of):
    return place_of("aws_s3")


@pytest.fixture
def adapter(place):
    made = place.adapter()
    yield made
    made.close()


@pytest.fixture
def at_once(monkeypatch):
    """Runs are put together as soon as they are over."""
    monkeypatch.setattr(module, "QUIET", timedelta(0))


def names(adapter) -> list[str]:
    return adapter.bucket.names("")


@pytest.mark.parametrize("was_on", [True, False])
def test_pythons_collector_rests_while_the_client_is_made_and_is_then_as_it_was(adapter, was_on):
    adapter.load()
    try:
        (gc.enable if was_on else gc.disable)()
        before = [generation["collections"] for generation in gc.get_stats()]
        adapter.make_ready()
        passes = sum(generation["collections"] for generation in gc.get_stats()) - sum(before)
        assert passes <= 20, "the making of a client sets off more than fifty"
        assert gc.isenabled() is was_on
    finally:
        gc.enable()


@pytest.fixture
def session(place):
    """One as the hook makes it."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook(aws_conn_id=S3_CONN_ID).get_session()


def hook_with(session) -> SimpleNamespace:
    """As much of a hook as the client is made with."""
    return SimpleNamespace(
        get_session=lambda: session,
        conn_config=SimpleNamespace(get_service_endpoint_url=lambda service: None),
        config=Config(),
        verify=None,
    )


def test_the_client_is_the_one_that_boto3_makes_by_its_own_reader(session, monkeypatch):
    plain = session.client("s3")
    listed = []
    monkeypatch.setattr("botocore.loaders.Loader.list_available_services", lambda self, name: listed.append(name))
    quick = make_client(hook_with(session), {})
    assert not listed, "the folders of all services were gone through"
    assert dir(quick) == dir(plain)
    assert quick.meta.endpoint_url == plain.meta.endpoint_url
    assert quick.meta.region_name == plain.meta.region_name
    assert quick.meta.service_model.metadata == plain.meta.service_model.metadata
    for name in plain.meta.service_model.operation_names:
        ours, theirs = (client.meta.service_model.operation_model(name) for client in (quick, plain))
        assert (ours.http, ours.documentation) == (theirs.http, theirs.documentation)
        assert str(ours.input_shape) == str(theirs.input_shape)


def test_a_session_makes_clients_of_other_services_as_before(session):
    with what_s3_is_read_fast(session):
        session.client("s3")
        with pytest.raises(UnknownServiceError):
            session.client("sts")
    assert session.client("sts").meta.service_model.service_name == "sts"


@pytest.mark.parametrize("lacks", ["_session", "get_component", "register_component"])
def test_of_a_boto3_that_is_made_otherwise_the_client_is_its_own(session, lacks):
    calls = {"get_component": session._session.get_component, "register_component": lambda name, reader: None}
    inner = SimpleNamespace(**{name: call for name, call in calls.items() if name != lacks})
    made = {"_session": inner, "client": session.client, "get_credentials": session.get_credentials}
    other = SimpleNamespace(**{name: part for name, part in made.items() if name != lacks})
    assert dir(make_client(hook_with(other), {})) == dir(session.client("s3"))


def test_a_run_that_is_over_becomes_one_object_with_all_of_its_history(adapter, place, at_once):
    for event in [*attempt(1), *attempt(2)]:
        adapter.apply([event])
    before = adapter.read_run("orders_dag", "manual__1")
    histories = [adapter.history(record["record_id"]) for record in before]
    assert len([name for name in names(adapter) if "/events/" in name]) == 10
    adapter.tidy()
    assert [name for name in names(adapter) if name.startswith(("runs/", "open/"))] == [
        "runs/orders_dag/manual__1/run.ndjson"
    ]
    for reader in (adapter, place.adapter()):
        assert reader.read_run("orders_dag", "manual__1") == before
        assert reader.read_tracking_records("orders") == before
        assert [reader.history(record["record_id"]) for record in before] == histories


def test_a_change_that_comes_late_is_merged_and_put_together_with_the_rest(adapter, place, at_once):
    adapter.apply(attempt()[:3])
    adapter.tidy()
    late = place.adapter()
    late.apply(attempt()[3:])
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()))
    adapter.tidy()
    assert not [name for name in names(adapter) if "/events/" in name]
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()))
    assert len(adapter.history(record["record_id"])) == 5


def test_a_process_that_writes_to_a_run_again_opens_it_again(adapter, at_once):
    adapter.apply(attempt()[:3])
    adapter.tidy()
    adapter.apply(attempt()[3:])
    assert "open/orders_dag/manual__1" in names(adapter)
    adapter.tidy()
    assert [name for name in names(adapter) if name.startswith(("runs/", "open/"))] == [
        "runs/orders_dag/manual__1/run.ndjson"
    ]
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()))


def test_a_run_that_goes_on_stays_as_it_is(adapter, at_once):
    adapter.apply(attempt()[:2])
    before = names(adapter)
    adapter.tidy()
    assert names(adapter) == before


def test_a_run_that_was_written_a_moment_ago_stays_as_it_is(adapter):
    adapter.apply(attempt())
    before = names(adapter)
    adapter.tidy()
    assert names(adapter) == before


def test_a_run_that_never_ends_is_put_together_after_a_day(adapter, at_once, monkeypatch):
    adapter.apply(attempt()[:2])
    monkeypatch.setattr(module, "GIVEN_UP", timedelta(0))
    adapter.tidy()
    assert not [name for name in names(adapter) if "/events/" in name]
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()[:2]))
    adapter.tidy()
    assert adapter.read_open_runs() == [record], "whoever may close it still finds it"
    adapter.apply(attempt()[2:])
    adapter.tidy()
    assert adapter.read_open_runs() == []


def test_a_run_that_was_put_together_but_not_closed_is_closed_by_the_next(adapter, at_once, monkeypatch):
    def killed(name: str) -> None:
        delete(name)
        raise StorageError("s3", "killed")

    adapter.apply(attempt())
    delete = adapter.bucket.delete
    with monkeypatch.context() as patch:
        patch.setattr(adapter.bucket, "delete", killed)
        with pytest.raises(StorageError, match="killed"):
            adapter.tidy()
    assert [name for name in names(adapter) if name.startswith(("runs/", "open/"))] == [
        "open/orders_dag/manual__1",
        "runs/orders_dag/manual__1/run.ndjson",
    ]
    adapter.tidy()
    assert [name for name in names(adapter) if name.startswith(("runs/", "open/"))] == [
        "runs/orders_dag/manual__1/run.ndjson"
    ]


def test_a_run_whose_first_object_is_still_on_the_way_stays_open(adapter):
    adapter.bucket.put("open/orders_dag/manual__1", b"")
    adapter.tidy()
    assert "open/orders_dag/manual__1" in names(adapter)


def test_a_process_that_goes_on_opens_a_run_again_that_another_has_found_to_be_over(adapter, place, at_once):
    adapter.apply(attempt(1))
    place.adapter().tidy()
    adapter.tidy()
    adapter.apply(attempt(2)[:2])
    assert {record["map_index"] for record in place.adapter().read_open_runs()} == {1, 2}


def test_a_process_that_only_writes_opens_a_run_again_too(adapter, place, at_once, monkeypatch):
    adapter.apply(attempt(1))
    place.adapter().tidy()
    later = time.monotonic() + 1000
    monkeypatch.setattr("airflow_provider_pipetrack.storage.s3.time.monotonic", lambda: later)
    adapter.apply(attempt(2)[:2])
    assert {record["map_index"] for record in place.adapter().read_open_runs()} == {1, 2}


def test_several_that_put_together_and_read_at_once_lose_nothing(adapter, place, at_once):
    runs = [f"manual__{number}" for number in range(6)]
    for run_id in runs:
        for event in attempt(run_id=run_id):
            adapter.apply([event])
    expected = {run_id: facts(fold(attempt(run_id=run_id))) for run_id in runs}

    def work(number: int) -> None:
        mine = place.adapter()
        if number < 2:
            mine.tidy()
        for _ in range(3):
            assert {r["run_id"]: facts(r) for r in mine.read_tracking_records("orders")} == expected
        mine.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len([name for name in names(adapter) if name.startswith("runs/")]) == 6


def test_a_run_is_read_by_one_listing_and_a_pipeline_by_one_more_than_it_has_runs(adapter, monkeypatch, at_once):
    for run_id in ("a", "b", "c"):
        adapter.apply(attempt(run_id=run_id))
    adapter.apply([change_from_record({"pipeline_id": "another", "transfer_unique_id": "x"})])
    adapter.tidy()
    calls: list[str] = []
    call = adapter.bucket._call
    monkeypatch.setattr(
        adapter.bucket, "_call", lambda name, **arguments: calls.append(name) or call(name, **arguments)
    )
    assert len(adapter.read_run("orders_dag", "b")) == 1
    assert sorted(calls) == ["get_object", "list_objects_v2"]
    calls.clear()
    assert len(adapter.read_tracking_records("orders")) == 3
    assert sorted(calls) == ["get_object"] * 3 + ["list_objects_v2"] * 4
    calls.clear()
    assert len(adapter.read_unique("u-1")) == 3


def test_the_second_write_of_a_task_is_one_request(adapter, monkeypatch):
    adapter.apply(attempt()[:2])
    calls: list[str] = []
    call = adapter.bucket._call
    monkeypatch.setattr(
        adapter.bucket, "_call", lambda name, **arguments: calls.append(name) or call(name, **arguments)
    )
    adapter.apply(attempt()[2:3])
    assert calls == ["put_object"]


def test_many_changes_of_a_run_are_one_object(adapter):
    announced = [attempt(number)[0] for number in range(50)]
    adapter.apply(announced)
    assert len(names(adapter)) == 3
    assert len(adapter.read_tracking_records("orders")) == 50


def test_an_object_of_somebody_else_is_named(adapter):
    adapter.apply(attempt())
    key = f"{adapter.bucket.root}runs/orders_dag/manual__1/events/foreign.txt"
    adapter.bucket._call("put_object", Key=key, Body=b"[1, 2]")
    with pytest.raises(StorageError) as raised:
        adapter.read_run("orders_dag", "manual__1")
    assert f"s3://{adapter.bucket.bucket}/{key} is not pipetrack's (TypeError: " in raised.value.message
    assert "); remove it, or choose another prefix" in raised.value.message
    assert not raised.value.transient


def failure(text: str) -> StorageError:
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
    with pytest.raises(StorageError) as raised:
        adapter.apply([CHANGE])
    adapter.close()
    assert SECRET not in str(raised.value)
    return raised.value


def test_a_connection_that_is_not_defined():
    error = failure("aws_s3@never_defined||s3://bucket/x/")
    assert error.message == (
        "connection 'never_defined': there is no such Airflow connection; define it, or name another under "
        "tracking.connections"
    )
    assert not error.transient


def test_a_bucket_that_does_not_exist_is_not_made(s3):
    shown = CliRunner().invoke(main, ["init", f"aws_s3@{S3_CONN_ID}||s3://no-such-bucket/x/"])
    assert (shown.exit_code, "there is no bucket 'no-such-bucket'; make it" in shown.stderr) == (3, True)
    error = failure(f"aws_s3@{S3_CONN_ID}||s3://no-such-bucket/x/")
    assert error.message == f"connection '{S3_CONN_ID}': there is no bucket 'no-such-bucket'; make it"
    assert not error.transient


def test_a_bucket_name_that_cannot_be(s3):
    error = failure(f"aws_s3@{S3_CONN_ID}||s3://No;Such'Bucket/x/")
    assert error.message.startswith(f"connection '{S3_CONN_ID}': cannot be used: ")
    assert not error.transient


def ask_for_rights_after(port: int, requests: int) -> None:
    url, kind = f"http://127.0.0.1:{port}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=str(requests).encode(), headers=kind, method="POST")
    urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture(scope="module")
def guarded():
    """A server that asks for rights: its port."""
    with running(lambda port: [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]) as port:
        make_bucket(port, "guarded")
        ask_for_rights_after(port, 0)
        yield port


def test_a_key_that_the_server_does_not_know(guarded):
    with environment("pipetrack_stranger", s3_connection(guarded, login="AKIASTRANGER", password=SECRET)):
        error = failure("aws_s3@pipetrack_stranger||s3://guarded/x/")
    assert error.message == "connection 'pipetrack_stranger': wrong access key (InvalidAccessKeyId)"
    assert not error.transient


def test_keys_that_were_changed_in_airflow_are_taken_from_it_without_a_new_start(guarded):
    location = parse_location_string("aws_s3@pipetrack_changing||s3://guarded/x/")
    adapter = make_adapter(location, connections={}, adapters={})
    with environment("pipetrack_changing", s3_connection(guarded, login="AKIAOLD", password=SECRET)):
        with pytest.raises(StorageError, match="wrong access key"):
            adapter.check()
    key = key_of_a_user(guarded, "changed")
    connection = s3_connection(guarded, login=key["AccessKeyId"], password=key["SecretAccessKey"])
    with environment("pipetrack_changing", connection), pytest.raises(StorageError, match="its user may not use"):
        adapter.check()
    adapter.close()


def key_of_a_user(port: int, name: str) -> dict:
    """Make a user without rights and return the key."""
    import boto3

    # The server knows a user only after somebody may make one.
    ask_for_rights_after(port, 100)
    iam = boto3.client(
        "iam",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="AKIAROOT",
        aws_secret_access_key="x",
    )
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    ask_for_rights_after(port, 0)
    return key


def test_a_user_without_rights(guarded):
    key = key_of_a_user(guarded, "reader")
    connection = s3_connection(guarded, login=key["AccessKeyId"], password=key["SecretAccessKey"])
    with environment("pipetrack_powerless", connection):
        error = failure("aws_s3@pipetrack_powerless||s3://guarded/x/")
    assert key["SecretAccessKey"] not in str(error)
    assert error.message == (
        "connection 'pipetrack_powerless': its user may not use s3://guarded/x/v1/: allow it s3:ListBucket on the "
        "bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on guarded/x/v1/*"
    )
    assert not error.transient


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_GONE", json.dumps(s3_connection(free_port(), password=SECRET)))
    error = failure("aws_s3@pipetrack_gone||s3://bucket/x/")
    assert error.message.startswith("connection 'pipetrack_gone' cannot be reached: ")
    assert error.transient


def test_reconcile_puts_runs_together(place, tmp_path, at_once):
    with TrackingStore([place.text], journal_dir=tmp_path / "j") as store:
        for event in attempt():
            store.submit([event], durable=True)
            assert store.flush(10)
        store.reconcile()
        (record,) = store.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()))
    assert [name for name in names(place.adapter()) if name.startswith("runs/")] == [
        "runs/orders_dag/manual__1/run.ndjson"
    ]


def counted(adapter, monkeypatch, name: str) -> list[str]:
    """Return the keys or prefixes of the requests of one kind, as they are made."""
    asked: list[str] = []
    call = adapter.bucket._call

    def counting(kind: str, **arguments):
        if kind == name:
            asked.append(arguments.get("Key") or arguments["Prefix"])
        return call(kind, **arguments)

    monkeypatch.setattr(adapter.bucket, "_call", counting)
    return asked


def test_of_much_that_others_lack_only_the_notes_of_a_page_are_read(adapter, monkeypatch):
    runs = [f"manual__{number:02}" for number in range(12)]
    for run_id in runs:
        for event in attempt(run_id=run_id)[:2]:
            adapter.apply([event], owed=["a"])
    read = counted(adapter, monkeypatch, "get_object")
    assert adapter.count_owed() == 12
    assert read == []
    first = adapter.owed_records(limit=5)
    assert [record["run_id"] for record in first] == runs[:5]
    assert len([key for key in read if "/owed/" in key]) == 10
    rest = adapter.owed_records(after=first[-1]["record_id"], limit=50)
    assert [record["run_id"] for record in rest] == runs[5:]
    adapter.settle_all([(record, []) for record in first])
    assert [record["run_id"] for record in adapter.owed_records(limit=1)] == runs[5:6]
    assert adapter.count_owed() == 7


def test_records_are_listed_page_by_page_without_reading_all_runs(adapter, monkeypatch):
    monkeypatch.setattr(module, "_RUNS", 2)
    runs = ["a~b", "a b", "a-b", "a", "a.b", "ä" * 90, "é" * 90, "a/b", "a+b", "%"]
    for run_id in runs:
        adapter.apply([event for index in range(2) for event in attempt(index, run_id=run_id)])
    wanted = sorted(record["record_id"] for record in adapter.read_all())
    assert len(wanted) == 20
    found: list[str] = []
    while page := [listed.record_id for listed in adapter.inventory(found[-1] if found else "", 3)]:
        assert 3 <= len(page) <= 6 or len(found) + len(page) == 20
        found += page
    assert found == wanted
    read = counted(adapter, monkeypatch, "get_object")
    adapter.inventory(found[3], 3)
    assert len({key.split("/events/")[0] for key in read}) <= 4


def test_notes_of_records_that_a_rule_of_the_bucket_has_removed_hide_none_that_came_later(adapter):
    runs = [f"manual__{number:02}" for number in range(6)]
    for run_id in runs:
        adapter.apply(attempt(run_id=run_id)[:1], owed=["a"])
    for run_id in runs[:4]:
        for name in adapter.bucket.names(f"runs/orders_dag/{run_id}/"):
            adapter.bucket.delete(name)
    assert [record["run_id"] for record in adapter.owed_records(limit=2)] == runs[4:]
    assert [record["run_id"] for record in adapter.owed_records()] == runs[4:]


def test_runs_whose_names_were_cut_are_listed_several_at_once(adapter, monkeypatch):
    monkeypatch.setattr(module, "_RUNS", 3)
    runs = [f"{'r' * 200}{number:02}" for number in range(8)]
    for run_id in runs:
        adapter.apply(attempt(run_id=run_id)[:1])
    asked = []
    read = adapter._all_lines
    monkeypatch.setattr(adapter, "_all_lines", lambda some: asked.append(len(some)) or read(some))
    listed = adapter.inventory("", 100)
    assert [one.record_id for one in listed] == sorted(record["record_id"] for record in adapter.read_all())
    assert len(listed) == 8
    assert asked[:6] == [3, 3, 2, 3, 3, 2]
