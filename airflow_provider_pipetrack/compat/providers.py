"""What hooks and notifiers of providers have no public way for."""

from __future__ import annotations

from typing import Any

from airflow_provider_pipetrack.compat.exceptions import AirflowNotFoundException
from airflow_provider_pipetrack.errors import PipetrackError


def snowflake_parameters(hook: Any) -> dict[str, Any]:
    """Return what a SnowflakeHook connects with; it has no public way to add limits to them."""
    parameters = hook._get_conn_params  # noqa: SLF001
    return dict(parameters() if callable(parameters) else parameters)


def mail_notifier(*, timeout: float, text: str, sender: str | None, **arguments: Any) -> Any:
    """Return an ``SmtpNotifier`` whose mail has a plain text beside its HTML, and whose server gets little time.

    :param timeout: seconds that a step of the server may take, should its connection allow more.
    :param text: the plain text.
    :param sender: who sends it where the connection has no ``from_email``; the notifier would prefer its own argument.
    :raises PipetrackError: when there is no SMTP provider; later, when there is no connection.
    """
    from email.header import Header
    from email.mime.text import MIMEText

    try:
        from airflow.providers.smtp.hooks.smtp import SmtpHook
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    except ImportError:
        install = "pip install 'airflow-provider-pipetrack[mail]'"
        raise PipetrackError(f"mails need Airflow's SMTP provider: {install}") from None

    class AlertHook(SmtpHook):
        timeout = property(lambda hook: min(float(hook.conn.extra_dejson.get("timeout", timeout)), timeout))
        from_email = property(lambda hook: hook.conn.extra_dejson.get("from_email") or sender)
        smtp_retry_limit = 1  # the least with which every version of the provider sends at all

        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            try:
                return super().get_connection(conn_id)
            except AirflowNotFoundException:
                raise PipetrackError(
                    f"there is no Airflow connection {conn_id!r}: add it, or name another one as "
                    f"[pipetrack] smtp_conn_id"
                ) from None

        def _build_mime_message(self, *args: Any, **kwargs: Any) -> Any:
            message, recipients = super()._build_mime_message(*args, **kwargs)
            parts: Any = message.get_payload()
            parts.insert(0, MIMEText(text, "plain", "utf-8"))  # of alternatives the last one is preferred
            # The provider writes each header in one line, and servers refuse lines above 998 characters.
            message.replace_header("To", ",\n ".join(recipients))
            message.replace_header("Subject", Header(str(message["Subject"]), "utf-8").encode())
            return message, recipients

    class AlertNotifier(SmtpNotifier):
        @property
        def hook(self) -> SmtpHook:
            return AlertHook(smtp_conn_id=self.smtp_conn_id, auth_type=self.auth_type)

    return AlertNotifier(mime_subtype="alternative", **arguments)
