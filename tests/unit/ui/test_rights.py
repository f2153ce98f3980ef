"""Nobody sees a row, a name or a count of a Dag that they may not read."""

from __future__ import annotations

import pytest

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
