"""Which URLs webhooks may have and which addresses may be reached: public ones, and those that the operator allows."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from crossfade_core.errors import WebhookRefused, WebhookUnreachable
from crossfade_core.webhooks import MAX_URL_CHARACTERS, URL_PATTERN

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # a cloud's own service to its machines, at a public address
        "3fff::/20",  # documentation (RFC 9637)
        "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 is a cloud's metadata service
        "64:ff9b::/96",  # NAT64: an IPv4 address of any kind within (RFC 6052)
        "64:ff9b:1::/48",  # the same for local use (RFC 8215)
        "2002::/16",  # 6to4: the same (RFC 3056)
        "2001::/32",  # Teredo: the same (RFC 4380)
        "::/96",  # IPv4-compatible addresses, long deprecated (RFC 4291)
        "fec0::/10",  # site-local addresses, long deprecated (RFC 3879)
    )
)
"""Of these `ipaddress` says, in some or all versions of Python, that they are global."""


_NOWHERE: Final = (
    "is not, or not only, at public addresses; check the URL, or have the operator allow its network by "
    "CROSSFADE_WEBHOOK_NETWORKS"
)
"""Said of a name that does not resolve, too: else the names of a private network could be told from others."""


@dataclass(frozen=True)
class Target:
    """Where a message goes: the name and the path as the URL has them, and the addresses that the name meant."""

    host: str
    port: int
    path: str
    is_tls: bool
    addresses: tuple[Address, ...]


def check_url(url: str, allowed: Networks) -> None:
    """See that a webhook may have this URL, as far as can be told without its name's addresses.

    Raises:
        WebhookRefused: It is no such URL, or names an address that may not be reached.
    """
    parts = _split(url)
    literal = _literal(parts.hostname or "")
    if literal is not None:
        _check_addresses((literal,), parts, allowed)
    elif parts.scheme == "http" and not allowed:
        raise _plain(parts)


def resolve(url: str, allowed: Networks) -> Target:
    """Look up a URL's host, once: what is connected to are the addresses found here.

    Raises:
        WebhookRefused: The URL may not be sent to; one forbidden address among its host's is enough.
        WebhookUnreachable: The host's name does not resolve.
    """
    parts = _split(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookUnreachable(f"{host} {_NOWHERE}", host=host) from error
    addresses = tuple(dict.fromkeys(ipaddress.ip_address(str(sockaddr[0])) for *_, sockaddr in found))
    _check_addresses(addresses, parts, allowed)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port, path, parts.scheme == "https", addresses)


def is_public(address: Address) -> bool:
    """Tell whether an address is anybody's on the Internet, and not this network's or machine's own."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None:
            return False
    is_special = address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local
    return address.is_global and not is_special and not any(_is_in(address, network) for network in _NOT_PUBLIC)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_readable = parts.port is None or parts.port > 0
    except ValueError:
        is_readable = False
    if len(url) > MAX_URL_CHARACTERS or not re.fullmatch(r"[\x21-\x7e]+", url) or not is_readable:
        raise WebhookRefused(
            f"a URL of at most {MAX_URL_CHARACTERS} ASCII characters was expected: https://HOST/PATH", field="url"
        )
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise WebhookRefused("a URL of the form https://HOST/PATH was expected", field="url")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WebhookRefused("a webhook's URL has no user, password or fragment; leave them out", field="url")
    if not re.fullmatch(URL_PATTERN, url):
        raise WebhookRefused("a URL was expected whose host is a name of letters, digits, '.', '_', '-'", field="url")
    return parts


def _check_addresses(addresses: Sequence[Address], parts: SplitResult, allowed: Networks) -> None:
    is_inside = [any(_is_in(address, network) for network in allowed) for address in addresses]
    if not all(inside or is_public(address) for inside, address in zip(is_inside, addresses, strict=True)):
        # Nor is it said which address it was: that would tell strangers about the network.
        raise WebhookRefused(f"{parts.hostname} {_NOWHERE}", host=parts.hostname)
    if parts.scheme == "http" and not all(is_inside):
        raise _plain(parts)


def _plain(parts: SplitResult) -> WebhookRefused:
    return WebhookRefused(
        f"http://{parts.hostname} would carry messages in the open; use https, or have the operator allow its network "
        "by CROSSFADE_WEBHOOK_NETWORKS",
        host=parts.hostname,
    )


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_in(address: Address, network: IPv4Network | IPv6Network) -> bool:
    plain = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
    return plain.version == network.version and plain in network
