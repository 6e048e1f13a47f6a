"""Where webhooks may go: public addresses over TLS, and what the operator allows; nowhere else by any spelling."""

import ipaddress
import socket

import pytest

from crossfade_core.errors import WebhookRefused, WebhookUnreachable
from crossfade_webhooks.addresses import check_url, is_public, resolve

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)

NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::1", "::",
    "fc00::1", "fd12:3456::1", "fe80::1", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_of_a_private_or_special_kind_is_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_address_of_the_internet_is_public(address):
    assert is_public(ipaddress.ip_address(address))


def test_address_of_one_link_is_not_public():
    assert not is_public(ipaddress.ip_address("2606:4700:4700::1111%eth0"))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_url_with_such_an_address_is_refused_without_naming_what_is_there(address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookRefused, match="not, or not only, at public addresses"):
        check_url(f"https://{host}/hook", ())


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost"])
def test_other_spellings_of_loopback_are_refused_when_they_are_resolved(host):
    with pytest.raises((WebhookRefused, WebhookUnreachable)):
        resolve(f"https://{host}/hook", ())


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://a.example/x", "file:///etc/passwd", "https:///x", "https://", "//a.example", "a.example/hook",
        "https://user:pw@a.example/", "https://a.example/#part", "https://a.example:0/", "https://a.example:99999/",
        "https://a.example:x/", "https://[::1/", "https://a b.example/", "https://a.example/\n", "https://ä.example/",
        "https://a.example/" + "x" * 2048, "gopher://a.example", "https://a.example/\x00", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_url_of_another_form_is_refused(url):
    with pytest.raises(WebhookRefused):
        check_url(url, LOOPBACK)


def test_plain_http_is_for_allowed_networks_only():
    check_url("http://127.0.0.1:8080/hook", LOOPBACK)
    check_url("http://ci.example.org/hook", LOOPBACK)  # what its name means is looked at when it is sent to
    with pytest.raises(WebhookRefused, match="use https"):
        check_url("http://ci.example.org/hook", ())
    with pytest.raises(WebhookRefused, match="use https"):
        check_url("http://8.8.8.8/hook", LOOPBACK)
    check_url("https://8.8.8.8/hook", ())


def test_allowed_network_holds_its_addresses_in_either_spelling():
    check_url("http://[::ffff:127.0.0.1]/hook", LOOPBACK)
    with pytest.raises(WebhookRefused):
        check_url("http://[::1]/hook", LOOPBACK)


def test_one_forbidden_address_of_a_name_is_enough_to_refuse_it(monkeypatch):
    answers = {"mixed.example": ["8.8.8.8", "169.254.169.254"], "public.example": ["8.8.8.8", "1.1.1.1"]}

    def lookup(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    target = resolve("https://public.example/a/b?c=d", ())
    assert [str(address) for address in target.addresses] == answers["public.example"]
    assert (target.host, target.port, target.path, target.is_tls) == ("public.example", 443, "/a/b?c=d", True)
    with pytest.raises(WebhookRefused) as refused:
        resolve("https://mixed.example/", ())
    assert "169.254" not in refused.value.message


def test_name_that_does_not_resolve_is_unreachable_and_named():
    with pytest.raises(WebhookUnreachable, match=r"nobody\.invalid"):
        resolve("https://nobody.invalid/hook", ())
