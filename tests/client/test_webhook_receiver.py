"""The receiver in the process that waits: what comes over HTTP, in which order, and what is answered."""

import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from crossfade_client import Receiver, SecretMalformed, WaitTimedOut, webhook_receiver
from tests.client.webhook_sender import BODY, SECRET, body_of, send


def about(job_id, kind="job.succeeded"):
    return body_of(type=kind, data={"job_id": job_id})


def arrived(receiver, message_id):
    """Wait for a message of this id: it is answered before it is kept."""
    return receiver.wait_for(lambda message: message.id == message_id, 60)


def connect(receiver):
    address = urlsplit(receiver.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def test_a_message_is_answered_204_and_waited_for_by_its_job():
    with Receiver(SECRET) as receiver:
        answer = send(receiver.url)
        message = receiver.wait_for("job-1", timeout_seconds=10)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (message.type, message.data["labels"]) == ("job.succeeded", {"team": "eval"})


def test_a_message_that_comes_later_ends_the_wait():
    with Receiver(SECRET) as receiver:
        sender = threading.Timer(0.3, send, (receiver.url,))
        sender.start()
        assert receiver.wait_for("job-1", timeout_seconds=30).job_id == "job-1"
        sender.join()


def test_only_an_ending_of_the_job_itself_ends_the_wait_for_it():
    with Receiver(SECRET) as receiver:
        send(receiver.url, about("other"), "1")
        send(receiver.url, about("job-1", "output.published"), "2")
        arrived(receiver, "1"), arrived(receiver, "2")
        with pytest.raises(WaitTimedOut, match="2 webhook messages"):
            receiver.wait_for("job-1", timeout_seconds=0.2)
        send(receiver.url, about("job-1", "job.failed"), "3")
        assert receiver.wait_for("job-1", timeout_seconds=10).id == "3"


def test_a_message_is_waited_for_by_whatever_is_wanted_of_it():
    with Receiver(SECRET) as receiver:
        send(receiver.url, about("job-1", "output.published"))
        assert receiver.wait_for(lambda message: message.type == "output.published", 10).job_id == "job-1"


def test_a_message_that_is_delivered_again_is_answered_and_counts_once():
    with Receiver(SECRET) as receiver:
        answers = []
        for message_id in ("1", "1", "2", "1"):
            answers.append(send(receiver.url, BODY, message_id).status_code)
            arrived(receiver, message_id)
        messages = receiver.messages(timeout_seconds=0.3)
        assert [next(messages).id, next(messages).id] == ["1", "2"]
        with pytest.raises(WaitTimedOut):
            next(messages)
    assert answers == [204] * 4


def test_messages_are_given_in_the_order_they_came_and_the_oldest_forgotten(monkeypatch):
    monkeypatch.setattr(webhook_receiver, "KEPT", 3)
    with Receiver(SECRET) as receiver:
        first = receiver.messages(timeout_seconds=10)
        send(receiver.url, BODY, "0")
        assert next(first).id == "0"
        for number in range(1, 6):
            send(receiver.url, BODY, str(number))
            arrived(receiver, str(number))
        assert [next(first).id for _ in range(3)] == ["3", "4", "5"]


def test_what_is_not_signed_is_answered_400_with_the_reason_told_here_too():
    refused = []
    with Receiver(SECRET, on_refusal=refused.append) as receiver:
        answer = httpx.post(receiver.url, content=BODY, trust_env=False, timeout=60)
        with pytest.raises(WaitTimedOut):
            receiver.wait_for("job-1", timeout_seconds=0.2)
    assert answer.status_code == 400
    assert answer.text == refused[0].message
    assert "webhook-id" in answer.text


def test_a_body_that_is_too_large_is_refused_unread():
    with Receiver(SECRET) as receiver, connect(receiver) as sender:
        sender.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n")
        assert sender.recv(1024).startswith(b"HTTP/1.0 413 ")


def test_a_body_without_a_length_is_refused():
    with Receiver(SECRET) as receiver, connect(receiver) as sender:
        sender.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert sender.recv(1024).startswith(b"HTTP/1.0 411 ")


def test_who_connects_and_is_silent_keeps_nobody_waiting():
    with Receiver(SECRET) as receiver, connect(receiver) as silent:
        silent.sendall(b"POST / HTTP/1.1\r\n")
        assert send(receiver.url).status_code == 204
        began = time.monotonic()
    assert time.monotonic() - began < 9  # it may be silent for 10


def test_a_sender_that_breaks_off_is_no_message_and_no_noise(capfd):
    with Receiver(SECRET) as receiver:
        with connect(receiver) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset
            sender.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n123")
        send(receiver.url)
        assert receiver.wait_for("job-1", timeout_seconds=10)
    assert capfd.readouterr().err == ""


def test_only_this_machine_reaches_a_receiver_unless_it_is_asked_for():
    with Receiver(SECRET) as receiver:
        assert urlsplit(receiver.url).hostname == "127.0.0.1"


def test_a_malformed_secret_is_refused_before_anything_listens():
    with pytest.raises(SecretMalformed):
        Receiver("secret")
