"""Links hold wherever the pages are mounted, and whatever stands before them."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest


@pytest.mark.parametrize("before", ["", "/deep/airflow"])
def test_pages_know_where_they_are_whatever_stands_before_them(visitor, store, before):
    client = visitor(store, "orders")
    client.app.root_path = before
    client.base_url = "http://test"
    root = f"http://test{before}/pipetrack"
    for path, current in (("/runs", "runs"), ("/p/orders/t/clean", None), ("/", "")):
        answer = client.get(f"{root}{path}")
        assert answer.status_code == 200, answer.text
        links = dict(re.findall(r'<li><a href="([^"]*)"( aria-current="page")?>', answer.text))
        there = {urljoin(f"{root}{path}", link): bool(here) for link, here in links.items()}
        assert {f"{root}/", f"{root}/runs", f"{root}/attention"} <= there.keys()
        assert [link for link, here in there.items() if here] == ([] if current is None else [f"{root}/{current}"])
    answer = client.get(f"{root}/api/v1/nothing")
    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no such page."})
