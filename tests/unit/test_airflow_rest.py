"""An Airflow that does not answer costs one limit of time, and gets a sentence whatever stands there."""

from __future__ import annotations

import socket
import threading

import httpx
import pytest

from airflow_provider_pipetrack.cli.airflow_rest import AirflowRest, AirflowUnreachableError


def test_an_address_that_is_none_gets_a_sentence():
    with pytest.raises(AirflowUnreachableError, match="cannot be reached: InvalidURL"):
        AirflowRest("http://127.0.0.1:port", "a", "b").log_in()


@pytest.mark.parametrize("place", ["127.0.0.1:port", "127.0.0.1:1"])
@pytest.mark.parametrize("password", ["s3cret", "s3cret/@s3cret", "a:s3cret#"])
def test_a_password_in_the_address_is_in_no_error(place, password):
    words = rf"^Airflow at http://\*\*\*@{place} cannot be reached"
    with pytest.raises(AirflowUnreachableError, match=words) as caught:
        AirflowRest(f"http://proxy:{password}@{place}", "a", "b").log_in()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 404])
def test_something_else_that_answers_gets_a_sentence(status):
    body = b"[]" if status == 200 else b"{}"
    answer = f"HTTP/1.1 {status} Some\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body

    def serve(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        with pytest.raises(
            AirflowUnreachableError, match="is no Airflow: /auth/token gives no access_token|answers 404"
        ):
            AirflowRest(f"http://127.0.0.1:{server.getsockname()[1]}", "a", "b").log_in()
        thread.join(5)


def test_one_that_is_away_is_asked_once(mocker):
    asked = mocker.spy(httpx, "request")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        rest = AirflowRest(f"http://127.0.0.1:{closed.getsockname()[1]}", None, None, "token")
        for dag_id in ("one", "two"):
            with pytest.raises(AirflowUnreachableError, match="cannot be reached"):
                rest.states(dag_id, ["r"])
        assert asked.call_count == 1
        rest.log_in()
        with pytest.raises(AirflowUnreachableError, match="cannot be reached"):
            rest.states("one", ["r"])
        assert asked.call_count == 2
