"""Every number on a page leads to just what makes it up."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urljoin

import pytest

from tests.tracking_history import NOW, Run, failed_run, good_run, overdue_run
from tests.unit.ui.conftest import filled_store

LONG_AGO, LATELY = NOW - timedelta(hours=2), NOW - timedelta(minutes=28)


def whole_run(pipeline_id, run_id, began, **texts):
    run = Run(pipeline_id, run_id, began, **texts)
    for after, name in enumerate(("load", "clean", "publish")):
        run.end(name, after)
    return run


def started_run(pipeline_id, run_id, began):
    run = Run(pipeline_id, run_id, began)
    run.start("load")
    return run


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A pipeline in each state, and of some states two."""
    runs = [
        whole_run("whole", "one", LONG_AGO),
        whole_run("more", "one", LONG_AGO),
        good_run("partly", "one", LONG_AGO),
        failed_run("broken", "one", LONG_AGO),
        overdue_run("late", "one", LATELY),
        started_run("running", "one", NOW),
        Run("waiting", "one", NOW),
    ]
    with filled_store(tmp_path_factory.mktemp("states"), runs) as store:
        yield store


@pytest.fixture
def client(visitor, states):
    return visitor(states, "whole", "more", "partly", "broken", "late", "running", "waiting")


def linked(client, path, section=None):
    """Return the links of a page, or of a section of it, each with what is written on it."""
    answer = client.get(path)
    text = answer.text.split(f'id="{section}"', 1)[-1].split("</section>")[0] if section else answer.text
    found = re.findall(r'<a href="([^"]*)"[^>]*>(.*?)</a>', text, re.DOTALL)
    return [
        (urljoin(str(answer.url), href.replace("&amp;", "&")), re.sub("<[^>]*>", "", words)) for href, words in found
    ]


def rows(client, url, table):
    """Return the rows of a table on a page, as texts."""
    answer = client.get(url)
    assert answer.status_code == 200, url
    section = answer.text.split(f'id="{table}" data-live', 1)[-1].split("</section>")[0]
    found = re.findall(r"<tr data-key=.*?</tr>", section, re.DOTALL)
    return [re.sub("<[^>]*>", " ", row) for row in found]


def test_each_number_of_the_overview_leads_to_just_its_pipelines(client):
    numbers = [link for link in linked(client, "", "glance") if "status=" in link[0]]
    told = {words[2:].strip(): (int(words[0]), url) for url, words in numbers}
    assert {name[1:]: number for name, (number, _) in told.items()} == {
        "completed": 2, "partial": 1, "failed": 1, "overdue": 1, "running": 1, "pending": 1,
    }  # fmt: skip
    for name, (number, url) in told.items():
        found = rows(client, url, "pipelines")
        assert len(found) == number, name
        assert all(name[1:] in row for row in found), name
