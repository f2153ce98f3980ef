"""Alerts through real mail servers: good ones, refused, hung and wrong ones."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from email.utils import getaddresses

import pytest
from airflow.sdk import BaseNotifier
from click.testing import CliRunner

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.compat import airflow_option
from airflow_provider_pipetrack.notifications import alerts
from airflow_provider_pipetrack.notifications.alerts import Retried, finish_alerts, raise_alert, retry_alerts
from airflow_provider_pipetrack.notifications.outbox import Outbox, alert_id
from airflow_provider_pipetrack.notifications.targets import AlertTargets, NotifierTarget
from airflow_provider_pipetrack.records.key import RecordKey
from tests import mail_server

ME = __name__


def a_record(number: int = 1, **columns) -> dict:
    key = RecordKey("shop", "manual__1", "load_orders", -1, number)
    known = {"pipeline_id": "orders", "transfer_status": "failed", "error_message": "ValueError: gone"}
    return {**key.columns(), **known, **columns}


def to(*addresses: str) -> AlertTargets:
    return AlertTargets(addresses or ("team@example.com",))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path))
    Notifier.heard.clear()
    return tmp_path


@pytest.fixture
def use(monkeypatch):
    return lambda text: monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", text)


@pytest.fixture
def server(use):
    with mail_server.running() as running:
        use(running.connection())
        yield running


@pytest.fixture
def sender_of_airflow(monkeypatch):
    """The sender that airflow.cfg names; a process reads it once."""
    monkeypatch.setenv("AIRFLOW__EMAIL__FROM_EMAIL", "airflow@example.com")
    airflow_option.cache_clear()
    yield "airflow@example.com"
    airflow_option.cache_clear()


@pytest.fixture
def soon(monkeypatch):
    """What could not be sent is tried again at once."""
    monkeypatch.setattr("airflow_provider_pipetrack.notifications.outbox._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("airflow_provider_pipetrack.tracking.breaker.FIRST_PAUSE", 0.0)


class Notifier(BaseNotifier):
    """Remembers what it was told."""

    template_fields = ("text",)
    heard: list[str] = []

    def __init__(self, text: str, secret: str = "") -> None:
        super().__init__()
        self.text = text

    def notify(self, context) -> None:
        self.heard.append(self.text)


class Broken(Notifier):
    """Fails until it is mended."""

    broken = True

    def notify(self, context) -> None:
        if self.broken:
            raise RuntimeError("no such channel")
        super().notify(context)


class Hanging(Notifier):
    """Takes for ever."""

    goes_on = threading.Event()

    def notify(self, context) -> None:
        self.goes_on.wait(30)


class Later(Notifier):
    """Is awaited by nobody."""

    async def notify(self, context) -> None:
        self.heard.append(self.text)


class TestMail:
    def test_it_has_a_text_and_a_page(self, server):
        raise_alert(to(), "failed", a_record())
        (mail,) = server.wait(1)
        assert mail["Subject"] == "[pipetrack] orders: load_orders failed and is not tried again"
        assert (mail["From"], mail["To"]) == ("pipetrack@example.com", "team@example.com")
        assert mail.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
        assert "Error: ValueError: gone" in mail.get_body(("plain",)).get_content()
        assert "ValueError: gone" in mail.get_body(("html",)).get_content()
        assert mail["Message-ID"].endswith("@pipetrack>")
        assert (mail["X-Pipetrack-Alert"], mail["Auto-Submitted"]) == ("failed", "auto-generated")

    def test_each_attempt_and_kind_is_told_once(self, server):
        for _ in range(3):
            for number in (1, 2):
                for kind in ("failed", "overdue"):
                    raise_alert(to(), kind, a_record(number))
        finish_alerts()
        assert retry_alerts() == Retried()
        assert len(server.mails) == 4
        assert len({mail["Message-ID"] for _, mail in server.mails}) == 4

    def test_a_storage_that_is_down_is_told_once_for_a_run(self, server):
        for number in range(1, 20):
            raise_alert(to(), "undelivered", a_record(number))
        finish_alerts()
        assert server.subjects() == ["[pipetrack] orders: Tracking records of shop are not delivered"]

    def test_hundreds_of_addresses_are_told_in_several_mails(self, server):
        everybody = [f"person{number}@example.com" for number in range(320)]
        raise_alert(to(*everybody, *everybody), "failed", a_record())
        mails = server.wait(7)
        assert [address for recipients, _ in server.mails for address in recipients] == everybody
        assert [address for mail in mails for _, address in getaddresses([mail["To"]])] == everybody

    def test_any_language_arrives(self, server):
        words = "źródło 源 مصدر 🚚"
        raise_alert(
            to(),
            "failed",
            a_record(pipeline_id=words + "🚚" * 100, error_message=f"{words} \ud800", stage_i_details=words),
        )
        (mail,) = server.wait(1)
        assert words in mail["Subject"]
        assert mail["Subject"].count("🚚") == 101
        assert f"{words} ?" in mail.get_body(("plain",)).get_content()
        assert mail.get_body(("html",)).get_content().count(words) == 3

    def test_what_looks_like_a_template_is_not_rendered(self, server):
        nasty = "{{ 7 * 7 }} {% raise %} {{ conn.secret }}"
        raise_alert(to(), "failed", a_record(pipeline_id=nasty, error_message=nasty))
        (mail,) = server.wait(1)
        assert nasty in mail["Subject"]
        assert f"Error: {nasty}" in mail.get_body(("plain",)).get_content()

    def test_html_stays_text_and_headers_cannot_be_added(self, server):
        nasty = "<script>x</script>\r\nBcc: all@example.com\r\n\r\nbody"
        raise_alert(to(), "failed", a_record(pipeline_id=nasty, error_message=nasty))
        (mail,) = server.wait(1)
        assert server.mails[0][0] == ["team@example.com"]
        assert mail["Bcc"] is None
        assert "\n" not in mail["Subject"]
        assert "<script" not in mail.get_body(("html",)).get_content()

    def test_nobody_is_told_where_nobody_wants_to_be(self, server, state):
        raise_alert(AlertTargets(), "failed", a_record())
        finish_alerts()
        assert not server.mails
        assert not list(state.iterdir())

    def test_the_sender_of_airflow_stands_in_for_one_of_the_connection(self, server, use, sender_of_airflow):
        use(server.connection(from_email=None))
        raise_alert(to(), "failed", a_record(1))
        assert server.wait(1)[0]["From"] == sender_of_airflow
        use(server.connection())
        raise_alert(to(), "failed", a_record(2))
        assert server.wait(2)[1]["From"] == "pipetrack@example.com"

    def test_another_connection_may_be_named(self, server, use, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", server.connection())
        monkeypatch.setenv("AIRFLOW__PIPETRACK__SMTP_CONN_ID", "other")
        use("not a connection")
        raise_alert(to(), "failed", a_record())
        assert server.wait(1)[0]["To"] == "team@example.com"


class TestServerThatIsDown:
    def test_nothing_waits_for_it_and_nothing_is_lost(self, use, soon):
        with mail_server.hanging() as port:
            use(mail_server.connection(port))
            before = time.monotonic()
            for number in range(1, 30):
                raise_alert(to(), "failed", a_record(number))
            assert time.monotonic() - before < 2
            finish_alerts(1.0)
            assert time.monotonic() - before < 5
        with mail_server.running() as server:
            use(server.connection())
            deadline = time.monotonic() + 60
            while len(server.mails) < 29 and time.monotonic() < deadline:
                retry_alerts()
            assert len(server.mails) == 29
            assert retry_alerts() == Retried()

    def test_one_that_hangs_is_left_alone_for_a_while(self, use, caplog):
        with mail_server.hanging() as port:
            use(mail_server.connection(port))
            raise_alert(to(), "failed", a_record(1))
            finish_alerts(0.3)
            assert "An alert is not sent after 0.3 s; it is kept and tried again" in caplog.text
            alerts._background.drop()
            before = time.monotonic()
            raise_alert(to(), "failed", a_record(2))
            finish_alerts()
            assert time.monotonic() - before < 1

    def test_one_that_refuses_is_named_and_tried_later(self, use, soon, caplog):
        port = mail_server.free_port()
        use(mail_server.connection(port))
        raise_alert(to(), "failed", a_record())
        finish_alerts()
        assert (
            "The alert failed about shop/manual__1/load_orders/-1/1 could not be sent to 1 mail address: "
            "ConnectionRefusedError: [Errno 111] Connection refused. It is kept and tried again"
        ) in caplog.text
        assert retry_alerts().waiting == 1

    def test_a_wrong_password_is_said_but_not_shown(self, use, soon, caplog):
        with mail_server.running(password=True) as server:
            use(server.connection(login="me", password="wrong-Pa55word"))
            raise_alert(to(), "failed", a_record())
            finish_alerts(20)
            assert "SMTPAuthenticationError: (535" in caplog.text or "Unable to connect" in caplog.text
            assert "wrong-Pa55word" not in caplog.text
            use(server.connection(login="me", password=mail_server.PASSWORD))
            assert retry_alerts() == Retried(sent=1)
            assert len(server.mails) == 1

    def test_a_missing_connection_is_named(self, caplog, soon):
        raise_alert(to(), "failed", a_record())
        finish_alerts()
        assert (
            "there is no Airflow connection 'smtp_default': add it, or name another one as [pipetrack] smtp_conn_id"
        ) in caplog.text
        assert retry_alerts().waiting == 1

    def test_a_refused_address_does_not_keep_other_alerts_back(self, server):
        server.refuse.add("gone@example.com")
        raise_alert(to("gone@example.com"), "failed", a_record(1))
        raise_alert(to("team@example.com"), "failed", a_record(2))
        server.wait(1)
        finish_alerts()
        assert retry_alerts().waiting == 1

    def test_after_days_an_alert_is_given_up_with_an_error(self, use, soon, monkeypatch, caplog):
        use(mail_server.connection(mail_server.free_port()))
        monkeypatch.setattr("airflow_provider_pipetrack.notifications.outbox.KEPT_FOR", 0.0)
        with caplog.at_level(logging.ERROR):
            raise_alert(to(), "failed", a_record())
            finish_alerts()
        assert "pipetrack gave up the alert failed about shop/manual__1/load_orders/-1/1" in caplog.text
        assert retry_alerts() == Retried()

    def test_where_nothing_can_be_kept_it_is_tried_once(self, server, monkeypatch, caplog):
        monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", "/proc/no/such")
        raise_alert(to(), "failed", a_record())
        server.wait(1)
        assert "pipetrack cannot keep an alert" in caplog.text


class TestNotifier:
    @staticmethod
    def target(name: str = "Notifier", on: tuple[str, ...] = ("failed",), **kwargs) -> AlertTargets:
        return AlertTargets(notifiers=(NotifierTarget(f"{ME}.{name}", frozenset(on), kwargs),))

    def test_it_hears_what_it_wants_with_its_texts_rendered(self):
        text = "{{ alert.kind }} {{ dag.dag_id }} {{ ti.task_id }} {{ ti.try_number }} {{ record.pipeline_id }}"
        for kind in ("failed", "overdue", "mismatched"):
            raise_alert(self.target(on=("failed", "overdue"), text=text), kind, a_record(2))
        finish_alerts()
        assert Notifier.heard == ["failed shop load_orders 2 orders", "overdue shop load_orders 2 orders"]

    def test_its_templates_get_the_whole_message(self):
        raise_alert(self.target(text="{{ alert.subject }}"), "failed", a_record())
        finish_alerts()
        assert Notifier.heard == ["[pipetrack] orders: load_orders failed and is not tried again"]

    def test_airflows_own_mail_notifier_needs_no_texts(self, server):
        path = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
        target = NotifierTarget(path, frozenset({"failed"}), {"to": "pager@example.com"})
        raise_alert(AlertTargets(notifiers=(target,)), "failed", a_record(2, max_retry_attempts=1))
        finish_alerts()
        (mail,) = server.wait(1)
        assert "load_orders" in mail["Subject"]
        assert "2 of 2" in mail.get_body(("html",)).get_content()

    def test_its_id_is_the_same_wherever_it_is_told(self, tmp_path, monkeypatch):
        for host in ("one", "two"):
            monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / host))
            raise_alert(self.target(text="{{ alert.id }}"), "failed", a_record())
            finish_alerts()
        first, second = Notifier.heard
        assert first == second == alert_id(a_record()["record_id"], "failed")

    def test_names_in_the_record_are_no_templates(self):
        raise_alert(self.target(text="{{ record.pipeline_id }}"), "failed", a_record(pipeline_id="{{ 7 * 7 }}"))
        finish_alerts()
        assert Notifier.heard == ["{{ 7 * 7 }}"]

    def test_one_that_fails_keeps_no_other_back_and_is_tried_again(self, server, soon, caplog, monkeypatch):
        both = AlertTargets(("team@example.com",), self.target("Broken", text="x").notifiers)
        raise_alert(both, "failed", a_record())
        server.wait(1)
        finish_alerts()
        assert f"could not be sent to {ME}.Broken: RuntimeError: no such channel. It is kept" in caplog.text
        monkeypatch.setattr(Broken, "broken", False)
        assert retry_alerts() == Retried(sent=1)
        assert Broken.heard == ["x"]
        assert len(server.mails) == 1

    def test_who_was_told_before_one_that_hangs_is_not_told_again_by_another_process(self, server):
        hanging = self.target("Hanging", text="x")
        raise_alert(AlertTargets(("team@example.com",), hanging.notifiers), "failed", a_record())
        server.wait(1)
        finish_alerts(0.5)
        ((name, kept),) = Outbox(settings.alerts_dir()).unsent()
        assert [delivery.get("notifier") for delivery in kept.deliveries] == [f"{ME}.Hanging"]
        with Outbox(settings.alerts_dir()).taken(name) as alert:
            assert alert is None, "it is being told"
        Hanging.goes_on.set()
        finish_alerts()
        assert Outbox(settings.alerts_dir()).unsent() == []

    def test_one_that_is_gone_is_named(self, caplog):
        raise_alert(self.target("Gone", text="x"), "failed", a_record())
        finish_alerts()
        assert f"there is no notifier 'Gone' in {ME}" in caplog.text

    @pytest.mark.filterwarnings("error:coroutine .* was never awaited:RuntimeWarning")
    def test_one_that_nobody_awaits_is_named_and_nobody_is_taken_for_told(self, caplog):
        raise_alert(self.target("Later", text="x"), "failed", a_record())
        finish_alerts()
        assert "Later.notify is async, and Airflow awaits async_notify only; write a plain notify" in caplog.text
        assert len(Outbox(settings.alerts_dir()).unsent()) == 1


def test_nothing_that_is_wrong_reaches_the_caller(caplog):
    raise_alert(to(), "no such kind", a_record())
    raise_alert(to(), "failed", {})
    assert caplog.text.count("pipetrack could not raise the alert") == 2


def test_the_commands_show_and_send_what_waits(use, soon, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    use(mail_server.connection(mail_server.free_port()))
    raise_alert(to(), "failed", a_record())
    finish_alerts()
    shown = CliRunner().invoke(main, ["doctor"])
    assert shown.exit_code == 1
    assert re.search(rf"1 alert to be sent, the oldest for \ds, in {tmp_path}/_alerts\n", shown.output)
    reason = "could not be sent to 1 mail address: ConnectionRefusedError: "
    assert f"The last one that was tried {reason}" in shown.output
    answered = json.loads(CliRunner().invoke(main, ["doctor", "--output", "json"]).output)
    assert answered["is_well"] is False
    assert (answered["alerts"]["waiting"], answered["alerts"]["given_up"]) == (1, 0)
    assert 0 <= answered["alerts"]["oldest_seconds"] < 60
    assert answered["alerts"]["last_error"].startswith(reason)
    left = CliRunner().invoke(main, ["reconcile"])
    assert (left.exit_code, left.stdout) == (1, "1 alert still waiting\n")
    with mail_server.running() as server:
        use(server.connection())
        answer = CliRunner().invoke(main, ["reconcile", "--output", "json"])
        assert json.loads(answer.stdout)["alerts"] == {"sent": 1, "waiting": 0, "given_up": 0}
        assert len(server.mails) == 1
    assert CliRunner().invoke(main, ["reconcile"]).stdout == "nothing to do\n"
