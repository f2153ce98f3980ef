"""Nobody sees a row, a name or a count of a Dag that they may not read."""

from __future__ import annotations

import pytest
from fastapi import Request

from airflow_provider_pipetrack.compat import AIRFLOW, login_cookie
from airflow_provider_pipetrack.ui.rights import viewer_of
from tests.unit.ui.test_pages import PAGES


@pytest.fixture
def one_dag(visitor, store):
    """Somebody who may read the Dag ``customers`` only."""
    return visitor(store, "customers", sees_health=False)


@pytest.mark.parametrize(
    "path", [*(page for page in PAGES if page != "health"), "runs?search=orders", "audits?owner=shop_team"]
)
def test_other_dags_are_nowhere(one_dag, path):
    answer = one_dag.get(path)
    assert answer.status_code in {200, 404}
    if "orders" not in path:
        assert "orders" not in answer.text
    if "finance" not in path:
        assert "finance" not in answer.text
    assert "CRM said no" not in answer.text


def test_counts_are_of_what_may_be_read(one_dag, read):
    page = read(one_dag, "")
    assert "3 CSV" not in page.text
    assert "1 ◐partial" in page.text
    assert "failed" not in page.text.replace("failed for good", "").replace("completed partial failed", "")
    assert "1 to " not in read(one_dag, "transfers").text


@pytest.mark.parametrize("path", ["p/orders", "p/orders/t/clean", "p/finance/r/manual__finance"])
def test_what_may_not_be_read_does_not_exist(one_dag, client, read, path):
    hidden = read(one_dag, path, 404).text
    missing = read(client, path.replace("orders", "nowhere1").replace("finance", "nowhere"), 404).text
    assert "There is no record of this" in hidden
    assert "There is no record of this" in missing


@pytest.mark.parametrize(
    "path", ["runs?export=runs", "transfers?export=transfers", "?export=pipelines", "ready?export=readiness"]
)
def test_exports_have_the_same_rights(one_dag, path):
    text = one_dag.get(path).text
    assert "customers" in text
    assert "orders" not in text
    assert "finance" not in text


def test_somebody_without_any_dag_sees_nothing(visitor, store, read):
    nobody = visitor(store)
    for path in ("", "runs", "transfers", "attention", "audits"):
        text = read(nobody, path).text
        assert not [name for name in ("orders", "customers", "finance", "shop_team") if name in text]


def test_the_trackings_own_health_is_for_those_who_see_airflows(one_dag, client, read):
    assert one_dag.get("health").status_code == 403
    assert "tracking.db" in read(client, "health").text
    assert "health" not in read(one_dag, "").links


@pytest.mark.parametrize(
    ("sent", "known_by"),
    [
        ({"authorization": "Bearer header"}, {"authorization": "Bearer header"}),
        ({"cookie": f"{login_cookie()}=kept"}, {"authorization": "Bearer kept"}),
        (
            {"cookie": f"{login_cookie()}=kept", "authorization": "Bearer header"},
            {"authorization": "Bearer header"},
        ),
        ({"cookie": "another=kept"}, {}),
    ],
)
@pytest.mark.parametrize(("client", "address"), [(("10.0.0.7", 4711), ("10.0.0.7", 4711)), (None, ("", 0))])
def test_airflow_is_asked_as_who_looks_at_the_page(sent, known_by, client, address):
    airflow, loop = object(), object()
    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "headers": headers, "client": client, "state": {"pipetrack_loop": loop}}
    assert viewer_of(Request({**scope, AIRFLOW: airflow})) == (airflow, known_by, loop, address)
    assert viewer_of(Request(scope)) is None, "outside of the api-server nobody is asked"
