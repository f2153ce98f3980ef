"""The pages in a browser, by themselves: every page, filters, order, keyboard, narrow screens, renewing itself."""

from __future__ import annotations

import csv
import re
import time
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.notifications.outbox import Alert, Outbox
from airflow_provider_pipetrack.records.openness import OVERRULED
from airflow_provider_pipetrack.ui.paths import link
from tests.browser.conftest import HOSTILE, password, token
from tests.tracking_history import NOW, Run, failed_run, good_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PAGES = {
    "overview": "",
    "runs": "runs",
    "transfers": "transfers",
    "attention": "attention",
    "readiness": "ready?stage=staging",
    "audits": "audits",
    "health": "health",
    "undelivered": "undelivered",
    "owed": "owed",
    "alerts": "alerts",
    "pipeline": "p/orders",
    "run": "p/customers/r/manual__1",
    "transfer": "p/orders/t/clean",
    "attempts": "p/customers/t/load?run_id=manual__1",
    "missing": "p/nothing",
    "no-page": "no/such/page",
}
#: Those for people who may see how Airflow is doing.
OF_THE_TRACKING = ("health", "undelivered", "owed", "alerts")
HOSTILE_PAGES = [
    link("", "p", HOSTILE, dag_id="orders"),
    link("", "p", HOSTILE, "r", "manual__hostile", dag_id="orders"),
    link("", "p", HOSTILE, "t", "load", dag_id="orders"),
    link("", "transfers", search=HOSTILE),
    link("", "ready", stage=HOSTILE + "שלום"),
]


def is_wider_than_screen(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_wide_narrow_and_dark(visit, shoot, watch, name):
    page = visit(f"pipetrack/{PAGES[name]}")
    expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
    assert not is_wider_than_screen(page)
    shoot(page, name)
    page.set_viewport_size({"width": 390, "height": 844})
    assert not is_wider_than_screen(page)
    shoot(page, f"{name}-narrow")
    page.emulate_media(color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(17, 17, 17)"
    page.set_viewport_size({"width": 1280, "height": 800})
    assert not is_wider_than_screen(page)
    shoot(page, f"{name}-dark")
    if name in ("missing", "no-page"):
        watch.errors.clear()  # the browser logs that the page was not found


@pytest.mark.parametrize("path", HOSTILE_PAGES, ids=["pipeline", "run", "transfer", "search", "stage"])
def test_hostile_texts_do_nothing(visit, path):
    page = visit("pipetrack/")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(page.url + path)
    expect(page.get_by_role("main")).to_contain_text("<script>")
    assert page.locator("main script").count() == 0


def test_filters_stand_in_the_address_and_can_be_taken_away(visit):
    page = visit("pipetrack/transfers")
    page.get_by_label("State").select_option("failed")
    page.get_by_label("Search").fill("crm")
    page.get_by_role("button", name="Filter").click()
    assert "status=failed" in page.url
    assert "search=crm" in page.url
    expect(page.locator("#transfers tbody tr")).to_have_count(1)
    expect(page.locator("#transfers tbody tr")).to_contain_text("CRMError: CRM said no")
    page.reload()
    expect(page.get_by_label("Search")).to_have_value("crm")
    page.get_by_role("link", name="Clear all").click()
    assert "?" not in page.url.rstrip("?")


def test_tables_sort_both_ways_and_page(visit):
    page = visit("pipetrack/transfers")
    head = page.locator("#transfers thead th", has_text="Took")
    head.get_by_role("link").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#transfers tbody tr").first).to_contain_text("12 min")
    head.get_by_role("link").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#transfers .count")).to_contain_text("51 to")
    expect(head).to_have_attribute("aria-sort", "ascending")
    page.go_back()
    expect(page.locator("#transfers .count")).to_contain_text("1 to 50 of")


@pytest.fixture
def unsent(stack):
    """An alert of Airflow's host that nobody has sent, with whatever somebody wrote in it."""
    folder = stack.home / "pipetrack" / "journal" / "_alerts"
    record = {"record_id": "a", "dag_id": "orders", "run_id": "manual__1", "task_id": "load", "map_index": -1}
    told = [{"to": [f"{HOSTILE}@example.com", *(f"team-{number}@example.com" for number in range(30))]}]
    Outbox(folder).keep(Alert("told", "failed", {**record, "retry_attempt_number": 0}, told, time.time() - 300))
    yield folder
    (folder / "waiting" / "told.json").unlink()


def test_the_number_of_alerts_leads_to_a_list_that_fits_every_screen(visit, unsent):
    page = visit("pipetrack/health")
    page.get_by_role("link", name="1 alert").click()
    row = page.locator("#alerts tbody tr")
    expect(row).to_contain_text("5 min ago")
    row.locator("details summary").click()
    expect(row.locator("pre")).to_contain_text(f"{HOSTILE}@example.com, team-0@example.com")
    assert not is_wider_than_screen(page)
    expect(page.locator("#advice")).to_contain_text(str(unsent))
    page.set_viewport_size({"width": 768, "height": 844})
    region = page.get_by_role("region", name="Alerts that are not sent").locator(".scroll")
    assert region.evaluate("it => it.scrollWidth > it.clientWidth"), "the last columns are beside the screen"
    # Shades that stay at the sides, below what the content covers them with at its ends.
    assert region.evaluate("it => getComputedStyle(it).backgroundAttachment") == "local, local, scroll, scroll"
    region.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#alerts th", has_text="Next try")).to_be_in_viewport()
    page.set_viewport_size({"width": 390, "height": 844})
    assert region.evaluate("it => it.scrollWidth === it.clientWidth"), "a row is a card, which has all of them"
    assert not is_wider_than_screen(page)
    page.get_by_role("link", name="Health").last.click()
    expect(page.locator("#waiting")).to_contain_text("1 alert to be sent, the oldest 5 min")


def test_tables_sort_on_a_phone_too(visit):
    page = visit("pipetrack/audits", viewport={"width": 390, "height": 844})
    head = page.locator("#audits thead")
    expect(head.get_by_role("link", name="Result")).to_be_visible()
    expect(head.get_by_text("Evidence")).to_be_hidden()
    page.goto(page.url.replace("audits", "runs"))
    head = page.locator("#runs thead")
    head.get_by_role("link", name="Failed").click()
    expect(page.locator("#runs tbody tr").first).to_contain_text("1 failed")
    assert not is_wider_than_screen(page)
    page.goto(page.url.split("runs")[0] + "p/customers/r/manual__1")
    expect(page.locator("#timeline thead .scale")).to_be_hidden()
    page.locator("#timeline thead").get_by_role("link", name="Took").click()
    expect(page.locator("#timeline tbody tr").first).to_contain_text("clean")
    assert not is_wider_than_screen(page)


def test_a_table_is_downloaded_as_it_is_filtered(visit):
    page = visit("pipetrack/runs?status=failed")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "runs.csv"
    with open(download.value.path(), newline="") as file:
        assert {row["state"] for row in csv.DictReader(file)} == {"failed"}


def test_every_number_leads_to_what_makes_it_up(visit):
    page = visit("pipetrack/")
    for state in ("overdue", "partial", "failed"):
        number = page.locator("#glance").get_by_role("link", name=state)
        told = int(number.locator("strong").inner_text())
        number.click()
        expect(page.locator("#pipelines tbody tr")).to_have_count(told)
        assert all(state in row for row in page.locator("#pipelines tbody tr").all_inner_texts())
    page.locator("#pipelines").get_by_role("link", name="2 not run").click()
    expect(page.locator("#transfers tbody tr")).to_have_count(2)
    page.go_back()
    page.locator("#pipelines").get_by_role("link", name="1 failed").click()
    expect(page.locator("#transfers tbody tr")).to_have_count(1)
    page.get_by_role("link", name="clean").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("clean")


def test_everything_is_reached_by_keyboard(visit):
    page = visit("pipetrack/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Search")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("customers")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=customers**")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 40)"))
    assert {"Overdue", "CSV", "manual__1", "Began"} & reached >= {"CSV", "manual__1", "Began"}


def test_links_in_pictures_are_reached_by_keyboard_too(visit):
    page = visit("pipetrack/p/orders")
    box = page.get_by_role("link", name="clean: failed, owner shop_team")
    box.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/p/orders/t/clean**")
    expect(page.get_by_role("heading", level=1)).to_contain_text("clean")


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ('"Asia/Tokyo"', "GMT+9"),  # what Airflow's own pages write
        ("Asia/Tokyo", "GMT+9"),
        (None, "GMT+5:30"),  # the browser's
        ('"not/a zone"', "UTC"),
    ],
)
def test_moments_are_shown_in_the_readers_zone(visit, written, zone):
    page = visit("pipetrack/p/customers/r/manual__1", timezone_id="Asia/Kolkata")
    if written is not None:
        page.evaluate("written => localStorage.setItem('timezone', written)", written)
        page.reload()
    shown = page.locator("#timeline time").first
    expect(shown).to_contain_text(zone)
    expect(shown).to_have_attribute("title", re.compile(rf"^\d{{4}}(-\d\d){{2}} \d\d:\d\d:\d\d {re.escape(zone)}$"))


def test_midnight_is_no_twenty_fourth_hour(visit):
    page = visit("pipetrack/", timezone_id="UTC")
    page.locator("#freshness time").evaluate("time => { time.dateTime = '2025-12-31T00:05:00+00:00'; }")
    page.evaluate("window.dispatchEvent(new StorageEvent('storage'))")
    expect(page.locator("#freshness time")).to_have_attribute("title", "2025-12-31 00:05:00 UTC")


def write(stack, run):
    """Write what a run has recorded since it was last written."""
    tracking = stack.home / "pipetrack" / "tracking.db"
    with TrackingStore([f"sqlite||{tracking}||pipeline_tracking"], journal_dir=stack.home / "journal-of-test") as store:
        store.submit(run.changes, durable=True)
        assert store.flush(30)
    run.changes.clear()


def open_with_a_clock(visit, path, user="admin"):
    """Open a page whose clock the test moves on."""
    page = visit(f"pipetrack/{path}", user=user)
    page.clock.install()
    page.goto(page.url)
    return page


def test_trouble_shows_up_on_an_open_overview_and_goes_when_it_is_over(visit, stack):
    page = open_with_a_clock(visit, "", user="eve")
    expect(page.locator("#attention")).to_contain_text("Nothing needs attention")
    run = good_run("customers", "manual__trouble", NOW)
    run.end("publish", 40, 2, attempt=2, status="failed", error_message="something new")
    write(stack, run)
    page.clock.fast_forward(11_000)
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    expect(page.locator("#attention")).to_contain_text("something new")
    run.end("publish", 50, 2, attempt=3)
    write(stack, run)
    page.clock.fast_forward(11_000)
    expect(page.locator("#attention")).to_contain_text("Nothing needs attention")
    assert page.locator("#glance ~ #attention ~ form.filters ~ #pipelines").count() == 1, "in its place"


def test_a_run_that_fails_while_its_page_is_open_says_why(visit, stack):
    run = good_run("breaks", "manual__breaks", NOW, dag_id="orders")
    write(stack, run)
    page = open_with_a_clock(visit, "p/breaks/r/manual__breaks?dag_id=orders")
    expect(page.locator("#failed")).to_have_count(0)
    run.end("publish", 40, 2, attempt=2, status="failed", error_message="the mart is full")
    write(stack, run)
    page.clock.fast_forward(11_000)
    expect(page.locator("#head + #failed")).to_contain_text("the mart is full")
    run.end("publish", 50, 2, attempt=3)
    write(stack, run)


def test_a_tab_that_was_open_before_anything_was_tracked_shows_it(visit, stack):
    page = open_with_a_clock(visit, "dag_run?dag_id=orders&run_id=manual__fresh")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is tracked here yet")
    write(stack, good_run("orders", "manual__fresh", NOW))
    page.clock.fast_forward(11_000)
    expect(page.get_by_role("heading", level=1)).to_have_text("manual__fresh")
    page.wait_for_url("**/p/orders/r/manual__fresh")


def test_a_page_that_could_not_be_shown_comes_back_by_itself(visit, watch):
    page = open_with_a_clock(visit, "no/such/page")
    watch.errors.clear()  # the browser logs that there is none
    page.evaluate("history.replaceState(null, '', location.pathname.replace('no/such/page', 'runs'))")
    page.clock.fast_forward(11_000)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()


def test_a_long_error_stays_where_it_is_read_when_another_attempt_comes(visit, stack):
    run = Run("reads", "manual__reads", NOW, dag_id="orders")
    run.end("load", 0, 1, status="failed", error_message="\n".join(f"line {n}" for n in range(200)))
    write(stack, run)
    page = open_with_a_clock(visit, "p/reads/t/load?dag_id=orders&run_id=manual__reads")
    page.locator("#details pre").evaluate("text => { text.scrollTop = 700; }")
    run.end("load", 5, 1, attempt=2, status="failed", error_message="the shop is closed")
    write(stack, run)
    page.clock.fast_forward(11_000)
    expect(page.locator("#details")).to_contain_text("the shop is closed")
    assert page.locator("#details pre", has_text="line 199").evaluate("text => text.scrollTop") == 700
    run.end("load", 10, 1, attempt=3)
    write(stack, run)


def test_a_page_renews_itself_and_keeps_scroll_focus_and_what_is_open(visit, stack):
    write(stack, failed_run("halts", "manual__halts", NOW, dag_id="orders"))
    page = visit("pipetrack/attention")
    page.clock.install()
    page.goto(page.url)
    page.set_viewport_size({"width": 800, "height": 300})
    page.locator("#attention summary").first.click()
    target = page.get_by_role("link", name="finance", exact=True)
    target.focus()
    page.evaluate("window.scrollTo(0, 120)")
    before = page.evaluate("scrollY")
    marked = page.evaluate("document.querySelector('.menu').dataset.same = 'yes'")
    assert marked == "yes"
    new = good_run("renewed", "manual__new", NOW, dag_id="orders")
    new.end("publish", 40, 2, attempt=2, status="failed", error_message="something new")
    write(stack, new)
    page.clock.fast_forward(11_000)
    expect(page.locator("#attention")).to_contain_text("something new")
    assert page.evaluate("scrollY") == before
    assert page.evaluate("document.activeElement.tagName") == "A"
    assert page.evaluate("document.querySelector('.menu').dataset.same") == "yes"
    assert page.locator("details[open]").count() == 1


@pytest.mark.parametrize("path", ["", *PAGES.values(), "static/pipetrack.css", "api/v1/runs"])
def test_without_login_there_is_nothing(visit, watch, path):
    page = visit(f"pipetrack/{path}", user=None)
    text = page.inner_text("body")
    assert "orders" not in text
    assert "Log in there, then open this page again." in text or "Not authenticated" in text
    watch.errors.clear()  # the browser logs that it was refused


@pytest.mark.parametrize("name", [name for name in PAGES if name not in (*OF_THE_TRACKING, "missing", "no-page")])
def test_somebody_with_one_dag_sees_that_dag_only(visit, watch, name):
    page = visit(f"pipetrack/{PAGES[name]}", user="eve")
    text = page.inner_text("main")
    if "orders" in PAGES[name]:
        assert "There is no record" in text
        assert "shop_team" not in text
        watch.errors.clear()  # the browser logs that the page was not found
    else:
        assert "orders" not in text
        assert "finance" not in text
        assert "customers" in text or name == "attention"
    expect(page.get_by_role("link", name="Health")).to_have_count(0)


def test_pages_live_below_the_path_of_a_reverse_proxy(visit, base_path_url):
    asked = []
    page = visit("pipetrack/", url=base_path_url)
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    page.reload()
    page.locator("#pipelines").get_by_role("link", name="customers").first.click()
    page.locator("#runs").get_by_role("link", name="manual__1", exact=True).click()
    page.locator("#timeline").get_by_role("link", name="load").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("load")
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("The tracking")
    page.goto(f"{base_path_url}/dags/customers/plugin/pipetrack_dag")
    expect(page.frame_locator("iframe").first.get_by_role("heading", level=1)).to_have_text("customers")
    assert len(asked) > 8
    assert [
        parts.path for parts in asked if parts.scheme == "http" and not parts.path.startswith("/deep/airflow/")
    ] == []


def test_the_audit_trail_names_who_has_set_an_audit_to_success(stack, visit, base_path_url, tmp_path):
    stack.unpause("customers")
    run_id = stack.trigger("customers")
    assert stack.wait_run("customers", run_id) == "success", stack.logs()
    admin = {"Authorization": f"Bearer {token(stack.url, 'admin', password(stack, 'admin'))}"}
    task = f"{stack.url}/api/v2/dags/customers/dagRuns/{run_id}/taskInstances/clean"
    for state in ("failed", "success"):
        answer = httpx.patch(task, json={"new_state": state}, headers=admin, timeout=30)
        assert answer.status_code == 200, answer.text
    run = Run("customers", run_id, NOW)
    run.audit("load", "mismatched", 1, audit_ended="passed", audit_task="clean", warning=OVERRULED)
    location = f"sqlite||{stack.home / 'pipetrack' / 'tracking.db'}||pipeline_tracking"
    with TrackingStore([location], journal_dir=tmp_path / "journal") as store:
        store.submit([run.changes[-1]], durable=True)
        assert store.flush(60)
    for where in (stack.url, base_path_url):
        page = visit("pipetrack/audits?audit_result=mismatched&pipeline_id=customers", url=where)
        expect(page.locator("#audits tbody tr", has_text=run_id)).to_contain_text("admin, in Airflow")
