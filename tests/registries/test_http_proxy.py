"""The proxy that other tests put in front of real servers: it changes nothing, counts everything, fails on request."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.http_faults import Action, Disconnect, LoseAnswer, ReplaceAnswer, Slow, Stall, WrongBytes
from tests.fakes.http_proxy import INTERNAL_ERROR, SLOW_DOWN, HttpProxy
from tests.registries.plain_origin import PlainOrigin
from tests.system.serving import wait_for

BODY = os.urandom(3_000_000)
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def origin() -> Iterator[PlainOrigin]:
    with PlainOrigin() as running:
        yield running


@pytest.fixture
def proxy(origin: PlainOrigin) -> Iterator[HttpProxy]:
    with HttpProxy(origin.url) as running:
        yield running


@pytest.fixture
def connection(proxy: HttpProxy) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(connect(proxy.url)) as opened:
        yield opened


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)


def put(connection: http.client.HTTPConnection, path: str = "/a", body: bytes = BODY) -> int:
    connection.request("PUT", path, body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def get(connection: http.client.HTTPConnection, path: str = "/a") -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def seconds_of_get(proxy: HttpProxy, path: str) -> float:
    begun = time.monotonic()
    with contextlib.closing(connect(proxy.url)) as connection:
        get(connection, path)
    return time.monotonic() - begun


def test_a_request_goes_on_as_it_came(origin: PlainOrigin, connection: http.client.HTTPConnection) -> None:
    target = "/a%20b~c/%CE%BB=0.5?list-type=2&prefix=x%2F"
    connection.putrequest("GET", target, skip_accept_encoding=True)
    connection.putheader("X-Amz-Date", "20260101T000000Z")
    connection.putheader("X-Odd", "a,  b")
    connection.putheader("Authorization", "AWS4-HMAC-SHA256 Credential=k")
    connection.endheaders()
    connection.getresponse().read()
    host = f"{connection.host}:{connection.port}"
    assert origin.heard == [
        (
            "GET",
            target,
            [
                ("Host", host),
                ("X-Amz-Date", "20260101T000000Z"),
                ("X-Odd", "a,  b"),
                ("Authorization", "AWS4-HMAC-SHA256 Credential=k"),
            ],
        )
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_comes_back_as_it_was(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection, method: str
) -> None:
    origin.kept["/a"] = BODY
    with contextlib.closing(connect(origin.url)) as direct:
        answers = []
        for each in (direct, connection):
            each.request(method, "/a")
            answer = each.getresponse()
            fields = [(name, value) for name, value in answer.getheaders() if name != "Date"]
            answers.append((answer.status, answer.reason, fields, answer.read()))
    assert answers[0] == answers[1]


def test_bodies_in_chunks_arrive_whole_both_ways(origin: PlainOrigin, connection: http.client.HTTPConnection) -> None:
    parts = [BODY[:10], BODY[10:2_000_000], BODY[2_000_000:]]
    connection.request("PUT", "/chunked/a", iter(parts), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().read() == b"kept"
    assert origin.kept["/chunked/a"] == BODY
    assert get(connection, "/chunked/a") == BODY


def test_one_connection_carries_many_requests_on_both_sides(
    origin: PlainOrigin, connection: http.client.HTTPConnection
) -> None:
    put(connection, body=b"x")
    kept = connection.sock
    for _ in range(20):
        assert get(connection) == b"x"
    assert connection.sock is kept
    assert origin.connections == 1


def test_a_client_that_waits_to_be_told_to_go_on_is_told(origin: PlainOrigin, proxy: HttpProxy) -> None:
    with raw_put_that_waits(proxy, 5) as (client, answers):
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
        client.sendall(b"12345")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    assert origin.kept["/a"] == b"12345"


def test_a_client_refused_before_its_body_is_told_that_the_connection_ends(proxy: HttpProxy) -> None:
    proxy.fail(SLOW_DOWN)
    with raw_put_that_waits(proxy, 5) as (_, answers):
        status, _, rest = answers.read().partition(b"\r\n")
    assert status.startswith(b"HTTP/1.1 503 ")
    assert b"Connection: close\r\n" in rest


@contextlib.contextmanager
def raw_put_that_waits(proxy: HttpProxy, size_bytes: int) -> Iterator[tuple[socket.socket, io.BufferedReader]]:
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client, client.makefile("rb") as answers:
        client.sendall(b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size_bytes)
        yield client, answers


def test_requests_and_bytes_of_bodies_are_counted_each_way(
    proxy: HttpProxy, connection: http.client.HTTPConnection
) -> None:
    put(connection, "/b/a%20b?partNumber=1")
    connection.request("GET", "/b/a%20b?partNumber=1", headers={"Range": "bytes=0-9"})
    connection.getresponse().read()
    assert [vars(passed) for passed in proxy.traffic.requests] == [
        {"method": "PUT", "path": "/b/a b", "query": "partNumber=1", "range": None, "status": 200},
        {"method": "GET", "path": "/b/a b", "query": "partNumber=1", "range": "bytes=0-9", "status": 200},
    ]
    assert proxy.traffic.bytes_written == {("PUT", "/b/a b"): len(BODY)}
    assert proxy.traffic.bytes_read == {("PUT", "/b/a b"): len(b"kept"), ("GET", "/b/a b"): len(BODY)}


def test_a_rate_is_shared_by_all_connections(proxy: HttpProxy) -> None:
    size_bytes, rate = 2_000_000, 4_000_000
    proxy.download.bytes_per_second = rate
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: seconds_of_get(proxy, f"/zeros/{size_bytes}"), range(4)))
    measured = 4 * size_bytes / (time.monotonic() - begun)
    assert 0.3 * rate < measured < 1.1 * rate


def test_a_rate_holds_for_uploads_and_can_be_lifted(proxy: HttpProxy, connection: http.client.HTTPConnection) -> None:
    def seconds_of_put() -> float:
        begun = time.monotonic()
        put(connection)
        return time.monotonic() - begun

    proxy.upload.bytes_per_second = 5_000_000
    slow = seconds_of_put()
    proxy.upload.bytes_per_second = None
    assert slow >= 0.8 * len(BODY) / 5_000_000
    assert slow / least(seconds_of_put) > 3


@pytest.mark.parametrize("status", [SLOW_DOWN, INTERNAL_ERROR], ids=["503", "500"])
def test_a_refusal_keeps_a_request_from_the_server(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection, status: Action
) -> None:
    proxy.fail(status, method="PUT")
    assert put(connection) == status.code
    assert "/a" not in origin.kept
    assert put(connection) == 200
    assert proxy.traffic.requests[0].status == status.code


def test_a_replaced_answer_hides_that_it_was_done(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection
) -> None:
    proxy.fail(ReplaceAnswer(SLOW_DOWN))
    assert put(connection) == 503
    assert origin.kept["/a"] == BODY
    assert get(connection) == BODY


def test_a_lost_answer_hides_that_it_was_done(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection
) -> None:
    proxy.fail(LoseAnswer())
    with pytest.raises(ConnectionError):
        put(connection)
    assert origin.kept["/a"] == BODY
    assert proxy.traffic.requests[0].status is None


def test_an_answer_is_cut_at_the_very_byte(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection
) -> None:
    origin.kept["/a"] = BODY
    proxy.fail(Disconnect(1_000_001))
    connection.request("GET", "/a")
    with pytest.raises(http.client.IncompleteRead) as cut:
        connection.getresponse().read()
    assert cut.value.partial == BODY[:1_000_001]
    assert proxy.traffic.bytes_read["GET", "/a"] == 1_000_001


def test_an_answer_is_cut_by_a_reset_on_request(proxy: HttpProxy, connection: http.client.HTTPConnection) -> None:
    proxy.fail(Disconnect(500_000, is_reset=True))
    connection.request("GET", "/zeros/1000000")
    answer = connection.getresponse()
    with pytest.raises(ConnectionResetError):
        answer.read()


def test_a_request_is_cut_at_the_very_byte_by_a_reset(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection
) -> None:
    proxy.fail(Disconnect(1_000_001), method="PUT")
    with pytest.raises(ConnectionError):
        put(connection)
    assert proxy.traffic.bytes_written["PUT", "/a"] == 1_000_001
    assert "/a" not in origin.kept


def test_one_byte_is_wrong_on_request(
    origin: PlainOrigin, proxy: HttpProxy, connection: http.client.HTTPConnection
) -> None:
    spoiled = bytearray(BODY)
    spoiled[1_234_567] ^= 0xFF
    proxy.fail(WrongBytes(1_234_567))
    put(connection)
    assert origin.kept["/a"] == spoiled
    origin.kept["/a"] = BODY
    proxy.fail(WrongBytes(1_234_567))
    assert get(connection) == spoiled


def test_a_body_is_slow_on_request(proxy: HttpProxy) -> None:
    unhindered = least(lambda: seconds_of_get(proxy, "/zeros/1000000"))
    proxy.fail(Slow(2_000_000))
    slow = seconds_of_get(proxy, "/zeros/1000000")
    assert slow >= 0.4
    assert slow / unhindered > 3


def test_an_answer_is_late_on_request(proxy: HttpProxy) -> None:
    proxy.fail(Stall(0.5))
    assert seconds_of_get(proxy, "/a") >= 0.5
    assert least(lambda: seconds_of_get(proxy, "/a")) < 0.5


def test_a_fault_meets_the_request_it_was_meant_for(proxy: HttpProxy, connection: http.client.HTTPConnection) -> None:
    proxy.fail(SLOW_DOWN, method="PUT", path_contains="partNumber=2", skip=1, times=2)
    paths = ["/a?partNumber=1", "/a?partNumber=2", "/a?partNumber=2", "/b?partNumber=2", "/a?partNumber=2"]
    assert [put(connection, path, b"x") for path in paths] == [200, 200, 503, 503, 200]


def test_a_server_that_cannot_be_reached_is_a_cut_connection() -> None:
    with PlainOrigin() as origin:
        url = origin.url
    with (
        HttpProxy(url) as proxy,
        contextlib.closing(connect(proxy.url)) as connection,
        pytest.raises(ConnectionError),
    ):
        get(connection)


def test_stopping_ends_what_is_under_way(origin: PlainOrigin) -> None:
    before = threading.active_count()
    with HttpProxy(origin.url) as proxy, contextlib.closing(connect(proxy.url)) as connection:
        proxy.fail(Stall(600))
        connection.request("GET", "/a")
        wait_for(lambda: proxy.traffic.requests, 60)
        begun = time.monotonic()
    assert time.monotonic() - begun < 60
    wait_for(lambda: threading.active_count() <= before, 60)  # the origin learns of it in its own time


def least(measure: Callable[[], float]) -> float:
    """Measure five times: one time says more of the machine."""
    return min(measure() for _ in range(5))


def test_as_a_program_it_shows_its_counters_and_holds_little_memory(origin: PlainOrigin) -> None:
    size_bytes = 200_000_000
    command = [sys.executable, "-m", "tests.fakes.http_proxy", "--upstream", origin.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        try:
            url = json.loads(program.stdout.readline())["url"]
            with contextlib.closing(connect(url)) as connection:
                connection.request("GET", f"/zeros/{size_bytes}")
                answer = connection.getresponse()
                while answer.read(1 << 20):
                    pass
                counted = json.loads(get(connection, "/_proxy/counters"))
            peak_bytes = 1024 * int(Path(f"/proc/{program.pid}/status").read_text().split("VmHWM:")[1].split()[0])
        finally:
            program.send_signal(signal.SIGTERM)
    assert counted["bytes_read"] == {f"GET /zeros/{size_bytes}": size_bytes}
    assert [request["path"] for request in counted["requests"]] == [f"/zeros/{size_bytes}"]
    assert peak_bytes < size_bytes / 2
    assert program.returncode == 0
