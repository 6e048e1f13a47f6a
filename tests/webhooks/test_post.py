"""One POST over real HTTP and HTTPS: to the address that was looked up, no further, and not for ever."""

import datetime
import ipaddress
import socket
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crossfade_core.errors import WebhookRefused, WebhookUnreachable
from crossfade_webhooks.post import _tls_context, post
from tests.fakes.webhook_receiver import WebhookReceiver

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def receiver():
    with WebhookReceiver() as receiver:
        yield receiver


def send(url, body=b'{"a":1}', seconds=60.0, **headers):
    return post(url, headers, body, allowed=LOOPBACK, timeout_seconds=seconds)


@pytest.mark.parametrize("status", [200, 204, 400, 410, 500, 503])
def test_status_of_the_answer_is_returned(receiver, status):
    receiver.statuses = [status]
    assert send(receiver.url, **{"webhook-id": "msg-1"}) == status
    (request,) = receiver.received
    assert (request.path, request.body) == ("/hook", b'{"a":1}')
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "msg-1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(receiver, status):
    receiver.statuses, receiver.headers = [status], {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    assert send(receiver.url) == status
    assert [request.path for request in receiver.received] == ["/hook"]


def test_address_is_looked_up_once_and_pinned(receiver, monkeypatch):
    asked = []

    def lookup(host, port, *args, **kwargs):
        if host != "rebinding.example":
            return original(host, port, *args, **kwargs)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    original = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert send(f"http://rebinding.example:{receiver.port}/hook") == 204
    assert asked == ["rebinding.example"]
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"


def test_proxy_of_the_environment_is_not_used(receiver, monkeypatch):
    for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send(receiver.url) == 204


def test_address_that_is_not_allowed_gets_no_connection(receiver):
    with pytest.raises(WebhookRefused):
        post(receiver.url, {}, b"{}", allowed=(), timeout_seconds=5)
    assert receiver.received == []


def test_nobody_there_is_told_as_such():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(WebhookUnreachable, match="refused"):
            send(f"http://127.0.0.1:{taken.getsockname()[1]}/hook")


def test_next_address_is_tried_where_one_does_not_answer(receiver, monkeypatch):
    def lookup(host, port, *args, **kwargs):
        kinds = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kinds, (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr("crossfade_webhooks.addresses.socket.getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", connect_by_address(socket.create_connection))
    assert send(f"http://two.example:{receiver.port}/hook") == 204


def connect_by_address(original):
    def connect(address, timeout):
        connection = socket.socket()
        connection.settimeout(timeout)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    return connect


def test_receiver_that_says_nothing_costs_no_more_than_the_timeout(receiver):
    released = threading.Event()
    receiver.before_answer = lambda handler: not released.wait(10)
    begun = time.monotonic()
    with pytest.raises(WebhookUnreachable, match=r"no answer within 0\.5 s"):
        send(receiver.url, seconds=0.5)
    assert time.monotonic() - begun < 30
    released.set()


def test_receiver_that_drips_its_answer_costs_no_more_than_the_timeout(receiver):
    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(200):
            try:
                handler.wfile.write(f"x-{number}: y\r\n".encode())
                handler.wfile.flush()
            except OSError:
                return True
            time.sleep(0.05)
        return True

    receiver.before_answer = drip
    begun = time.monotonic()
    with pytest.raises(WebhookUnreachable, match="no answer within 1 s"):
        send(receiver.url, seconds=1)
    assert time.monotonic() - begun < 9


def test_dead_addresses_before_a_dripping_one_cost_no_more_than_the_timeout_together(receiver, monkeypatch):
    def drip(handler):
        for _ in range(200):
            try:
                handler.wfile.write(b"H")
                handler.wfile.flush()
            except OSError:
                return True
            time.sleep(0.05)
        return True

    given = []

    def connect(address, timeout):
        if address[0] != "127.0.0.1":
            given.append(timeout)
            time.sleep(timeout)
            raise TimeoutError
        return original(address, timeout)

    def lookup(host, port, *args, **kwargs):
        kinds = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        dead = [f"127.0.0.{last}" for last in (2, 3, 4)]
        return [(*kinds, (address, port)) for address in [*dead, "127.0.0.1"]]

    original = socket.create_connection
    monkeypatch.setattr("crossfade_webhooks.addresses.socket.getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", connect_by_address(original))
    monkeypatch.setattr("crossfade_webhooks.post.socket.create_connection", connect)
    receiver.before_answer = drip
    begun = time.monotonic()
    with pytest.raises(WebhookUnreachable, match="no answer within 1 s"):
        send(f"http://many.example:{receiver.port}/hook", seconds=1)
    assert time.monotonic() - begun < 9  # the dripping alone goes on for ten
    assert sum(given) <= 1


def test_handshake_that_never_ends_costs_no_more_than_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(WebhookUnreachable, match="no answer within 1 s"):
            send(f"https://127.0.0.1:{silent.getsockname()[1]}/hook", seconds=1)
        assert time.monotonic() - begun < 30


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100])
def test_answer_that_is_no_http_is_told_as_such(receiver, answer):
    def speak(handler):
        handler.wfile.write(answer)
        return True

    receiver.before_answer = speak
    with pytest.raises(WebhookUnreachable, match=r"not HTTP|no answer|reset"):
        send(receiver.url, seconds=2)


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate of 127.0.0.1 and hooks.example, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("hooks.example")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def at_loopback(monkeypatch):
    """Let two names mean this machine."""
    original = socket.getaddrinfo

    def lookup(host, port, *args, **kwargs):
        return original("127.0.0.1" if host.endswith(".example") else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


@pytest.fixture(autouse=True)
def own_certificates():
    """Let each test's certificates count."""
    _tls_context.cache_clear()
    yield
    _tls_context.cache_clear()


def test_tls_is_spoken_with_the_name_of_the_url(certificate, at_loopback, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with WebhookReceiver(certificate) as receiver:
        assert send(f"https://hooks.example:{receiver.port}/hook") == 204
        with pytest.raises(WebhookUnreachable, match="TLS failed"):
            send(f"https://other.example:{receiver.port}/hook")
    assert len(receiver.received) == 1


def test_certificate_of_nobody_we_know_is_not_accepted(certificate, at_loopback):
    with (
        WebhookReceiver(certificate) as receiver,
        pytest.raises(WebhookUnreachable, match="TLS failed"),
    ):
        send(f"https://hooks.example:{receiver.port}/hook")
