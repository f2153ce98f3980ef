"""The pages inside Airflow's own: its login, its navigation, its tabs, its themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from tests.airflow_versions import AIRFLOW
from tests.browser.conftest import password

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def inside(page: Page) -> FrameLocator:
    """The pages inside Airflow's frame."""
    return page.frame_locator("iframe").first


def ground(page: Page) -> str:
    return inside(page).locator("body").evaluate("body => getComputedStyle(body).backgroundColor")


def test_log_in_and_open_the_pages_from_airflows_navigation(visit, shoot, stack, watch):
    page = visit("pipetrack/", user=None)
    expect(page.get_by_role("heading", level=1)).to_have_text("Please log in")
    watch.errors.clear()  # the browser logs that it was refused
    page.goto(stack.url)
    page.get_by_label("Username").fill("admin")
    page.locator("input[type=password]").fill(password(stack, "admin"))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Pipetrack").first.click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("Pipelines")
    expect(inside(page).locator("#pipelines tbody tr").first).to_be_visible()
    shoot(page, "airflow-overview")


def test_tabs_of_dag_run_and_task_lead_to_their_records(visit, shoot, stack, real_run):
    page = visit("dags/customers")
    page.get_by_role("link", name="Tracking").click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("customers")
    shoot(page, "airflow-dag")
    page.goto(f"{stack.url}/dags/customers/runs/{real_run}")
    page.get_by_role("link", name="Tracking").click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text(real_run)
    expect(inside(page).locator("#timeline tbody tr")).to_have_count(3)
    assert inside(page).locator("#timeline .scroll").evaluate("seen => seen.scrollWidth <= seen.clientWidth")
    shoot(page, "airflow-run")
    page.goto(f"{stack.url}/dags/customers/runs/{real_run}/tasks/load")
    page.get_by_role("link", name="Tracking").click()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("load")
    expect(inside(page).locator("#details article")).to_have_count(1)
    shoot(page, "airflow-task")


def test_a_link_to_the_log_leads_airflow_itself_there(visit, stack, real_run):
    page = visit(f"dags/customers/runs/{real_run}/plugin/pipetrack_run")
    inside(page).locator("#timeline").get_by_role("link", name="log").first.click()
    page.wait_for_url("**/tasks/load**")
    assert "/plugin/" not in page.url


def test_the_pages_follow_airflows_switch_between_light_and_dark(visit, shoot, stack):
    page = visit("plugin/pipetrack")
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("Pipelines")
    light = ground(page)
    # What the switch in Airflow's menu writes.
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.reload()
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("Pipelines")
    expect(inside(page).locator("html")).to_have_attribute("data-theme", "dark")
    dark = ground(page)
    assert light != dark
    shoot(page, "airflow-dark")
    page.evaluate("document.documentElement.className = 'light'")
    expect(inside(page).locator("html")).to_have_attribute("data-theme", "light")


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="the button for it has another place and name")
def test_the_pages_take_over_the_zone_that_is_chosen_in_airflow(visit):
    page = visit("plugin/pipetrack", timezone_id="Asia/Kolkata")
    shown = inside(page).locator("#freshness time")
    expect(shown).to_contain_text("GMT+5:30")
    page.get_by_test_id("nav-sidebar").get_by_role("button", name="+05:30").click()
    page.get_by_role("combobox").fill("Asia/Tokyo")
    page.keyboard.press("Enter")
    expect(shown).to_contain_text("GMT+9")


def test_airflows_own_colours_are_taken_over(visit):
    page = visit("plugin/pipetrack")
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("Pipelines")
    outside = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--chakra-colors-fg').trim()")
    taken = inside(page).locator("html").evaluate("html => html.style.getPropertyValue('--fg').trim()")
    assert outside
    assert taken == outside


def test_a_user_of_one_dag_sees_it_in_airflow_and_here_alike(visit):
    page = visit("plugin/pipetrack", user="eve")
    expect(inside(page).locator("#pipelines tbody tr")).to_have_count(1)
    expect(inside(page).locator("#pipelines tbody tr")).to_contain_text("customers")
