"""A real mail server on a free loopback port, and what it received."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

PASSWORD = "right-Pa55word"


@dataclass
class MailServer:
    """What a mail server received.

    :param port: where it listens.
    :param mails: each mail with its recipients, in the order of their arrival.
    :param refuse: recipients that it refuses.
    """

    port: int = 0
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def connection(self, **extra: Any) -> str:
        """The server as the text of an Airflow connection."""
        return connection(self.port, **extra)

    def wait(self, number: int, timeout: float = 20) -> list[EmailMessage]:
        """Wait for so many mails, and return them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.mails) >= number, timeout), self.subjects()
            return [mail for _, mail in self.mails]

    def subjects(self) -> list[str]:
        return [mail["Subject"] for _, mail in self.mails]

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  aiosmtpd's name
        if address in self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self.arrived:
            self.mails.append((list(envelope.rcpt_tos), mail))
            self.arrived.notify_all()
        return "250 OK"


def connection(port: int, **extra: Any) -> str:
    """A mail server without encryption as the text of an Airflow connection."""
    more = {name: extra.pop(name) for name in ("login", "password") if name in extra}
    return json.dumps(
        {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": port,
            **more,
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "pipetrack@example.com", **extra},
        }
    )


@contextmanager
def running(*, password: bool = False) -> Iterator[MailServer]:
    """Run a mail server.

    :param password: whether it wants :data:`PASSWORD`.
    """

    def authenticate(server, session, envelope, mechanism, given):
        return AuthResult(success=given.password == PASSWORD.encode(), handled=False)

    server = MailServer()
    more = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False} if password else {}
    controller = Controller(server, hostname="127.0.0.1", port=free_port(), **more)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


@contextmanager
def hanging() -> Iterator[int]:
    """Give the port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
