"""A thread that waits on a socket goes on when it is given up, and no other socket is touched."""

from __future__ import annotations

import http.client
import socket
import threading

from airflow_provider_pipetrack.storage.sockets import shut_sockets_of
from tests.threads import waiting


def test_the_thread_that_is_named_goes_on_and_the_other_does_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        mine = socket.create_connection(address)
        other = socket.create_connection(address)
        given_up, ended = waiting(lambda: mine.recv(1))
        kept, _ = waiting(lambda: other.recv(1))
        shut_sockets_of([given_up.ident])
        given_up.join(2)
        assert ended == [b""]
        assert kept.is_alive()
        other.shutdown(socket.SHUT_RDWR)
        kept.join(2)
        mine.close()
        other.close()


def test_a_client_that_hides_its_socket_goes_on_too():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1])
        client.request("GET", "/")
        thread, ended = waiting(client.getresponse)
        shut_sockets_of([thread.ident])
        thread.join(2)
        assert isinstance(ended[0], ConnectionError)
        client.close()


def test_a_thread_that_waits_for_nothing_or_is_gone_is_left_alone():
    gone = threading.Thread(target=lambda: None)
    gone.start()
    gone.join()
    assert shut_sockets_of([gone.ident, 0, threading.get_ident()]) is None
