"""The JSON API: typed, paged, and with the rights of the pages."""

from __future__ import annotations

import pytest

API = "api/v1"


def get(client, path: str, status: int = 200):
    answer = client.get(f"{API}/{path}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_pipelines_say_how_their_last_run_stands(client):
    answer = get(client, "pipelines?order_by=pipeline_id")
    assert [(row["pipeline_id"], row["state"]) for row in answer["rows"]] == [
        ("customers", "completed"),
        ("finance", "in_progress"),
        ("orders", "failed"),
    ]
    assert answer["rows"][2]["owners"] == ["shop_team"]
    assert {name: answer[name] for name in ("total", "limit", "offset", "unreachable")} == {
        "total": 3, "limit": 100, "offset": 0, "unreachable": {},
    }  # fmt: skip


def test_runs_are_filtered_sorted_and_paged(client):
    answer = get(client, "runs?pipeline_id=orders&limit=2&offset=1&order_by=began_at&descending=true")
    assert answer["total"] == 12
    assert len(answer["rows"]) == 2
    assert answer["rows"][0]["began_at"] > answer["rows"][1]["began_at"]
    assert get(client, "runs?status=failed")["rows"][0]["failed_transfers"] == ["clean"]
    assert get(client, "runs?since=150m")["total"] == 3


@pytest.mark.parametrize("name", ["dag_id", "pipeline_id", "owner", "run_id", "search"])
def test_an_empty_filter_asks_for_nothing_as_on_the_pages(client, name):
    assert get(client, f"runs?{name}=")["total"] == 16


def test_transfers_are_tracking_records(client):
    answer = get(client, "transfers?run_id=manual__1&order_by=transfer_order_number")
    assert [(row["task_id"], row["retry_attempt_number"]) for row in answer["rows"]] == [
        ("load", 0), ("clean", 1), ("publish", 0), ("archive", 0),
    ]  # fmt: skip
    load = answer["rows"][0]
    assert (load["is_partial"], load["records_failed"], load["audit_metadata"]) == (True, 300, {"rows": 700})
    assert not {"owed", "start_key"} & set(load)
    assert get(client, "transfers?run_id=manual__1&every_attempt=true")["total"] == 5


def test_readiness_says_state_partial_audit_and_historical(client):
    answer = get(client, "readiness?stage=production&pipeline_id=customers")
    assert answer["ready"] is True
    only = answer["pipelines"][0]
    assert (only["state"], only["is_partial"], only["audit_result"]) == ("ready", False, None)
    assert only["can_access_historical_data"] is True
    partly = get(client, "readiness?stage=staging&pipeline_id=customers")
    assert (partly["ready"], partly["pipelines"][0]["state"]) == (False, "partial")
    assert partly["pipelines"][0]["audit_result"] == "matched"
    assert get(client, "readiness?stage=staging&date=2001-01-01T06:00:00+00:00")["pipelines"][0]["state"] == "missing"
    nobody = get(client, "readiness?stage=moon&date=2025-01-31")
    assert (nobody["ready"], nobody["pipelines"]) == (False, [])


def test_health_says_what_waits(client):
    answer = get(client, "health")
    assert answer["is_well"] is True
    assert (answer["undelivered"], answer["dead_letters"], answer["lost"]) == (0, 0, 0)
    assert [place["state"] for place in answer["locations"]] == ["up"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs?status=bar", "Input should be 'pending', 'in_progress', 'completed' or 'failed'"),
        ("runs?since=tomorrow", "expected a date (2025-01-31), a time (2025-01-31T06:00) or a distance back (24h)"),
        (
            "transfers?until=9999-12-31",
            "expected a date (2025-01-31), a time (2025-01-31T06:00) or a distance back (24h)",
        ),
        ("runs?limit=0", "greater than or equal to 1"),
        ("runs?limit=100000", "less than or equal to 1000"),
        ("runs?offset=-1", "greater than or equal to 0"),
        ("runs?order_by=start_key", "expected one of pipeline_id, dag_id, run_id"),
        ("runs?pipelineid=x", "Extra inputs are not permitted"),
        ("transfers?map_index=x", "valid integer"),
        ("readiness", "Field required"),
        ("readiness?stage=staging&date=31.1.2025", "expected a day such as 2026-01-31"),
        ("readiness?stage=moon&date=x", "expected a day such as 2026-01-31"),
    ],
)
def test_odd_parameters_are_refused_in_words(client, path, words):
    assert words in str(get(client, path, 422)["detail"])


@pytest.mark.parametrize(
    "path", ["pipelines", "runs", "transfers", "transfers?every_attempt=true", "readiness?stage=staging"]
)
def test_rights_are_those_of_the_pages(visitor, store, path):
    answer = get(visitor(store, "customers", sees_health=False), path)
    assert "customers" in str(answer)
    assert not [name for name in ("orders", "finance", "CRM") if name in str(answer)]
    nothing = get(visitor(store, sees_health=False), path)
    assert nothing.get("total", 0) == 0
    assert not nothing.get("rows") or not nothing.get("pipelines")
    assert "customers" not in str(nothing)


def test_a_dag_that_may_not_be_read_is_one_that_does_not_exist(visitor, store):
    limited = visitor(store, "customers", sees_health=False)
    for path in ("runs?pipeline_id={}", "transfers?dag_id={}", "readiness?stage=staging&pipeline_id={}"):
        hidden, missing = (get(limited, path.format(name)) for name in ("orders", "nowhere"))
        assert str(hidden).replace("orders", "nowhere") == str(missing)
    assert limited.get(f"{API}/health").status_code == 403


def test_what_does_not_exist_and_what_writes_is_refused_in_json(client):
    assert get(client, "nothing", 404) == {"detail": "There is no such page."}
    assert client.post(f"{API}/runs").status_code == 404


def test_no_answer_is_kept_by_a_cache_between(client):
    for path in ("runs", "nothing", "api/v1/runs", "api/v1/nothing", "runs?export=runs"):
        assert client.get(path).headers["Cache-Control"] == "no-store"
    assert client.get("static/pipetrack.css").headers["Cache-Control"] == "private, max-age=86400"


@pytest.mark.parametrize("path", ["", "runs?export=runs", "api/v1/runs", "no/such/page"])
def test_the_headers_alone_are_those_of_the_answer(client, path):
    whole, alone = client.get(path), client.head(path)
    assert (alone.status_code, alone.headers, alone.content) == (whole.status_code, whole.headers, b"")


def test_the_api_is_described(client):
    described = get(client, "openapi.json")
    assert set(described["paths"]) == {
        f"/api/v1/{name}" for name in ("pipelines", "runs", "transfers", "readiness", "health")
    }
    assert described["components"]["schemas"]["Transfer"]["properties"]["transfer_status"]


def test_a_storage_that_is_away_is_named(visitor, tmp_path):
    from airflow_provider_pipetrack import TrackingStore

    with TrackingStore([f"sqlite||{tmp_path}/none.db||t"], journal_dir=tmp_path / "journal") as store:
        client = visitor(store, "orders")
        assert "no such file" in str(get(client, "runs")["unreachable"])
        assert get(client, "readiness?stage=x&pipeline_id=orders")["ready"] is False
