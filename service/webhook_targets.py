"""Where webhooks may go: to public addresses by https, unless the operator allows others.

A name is resolved and checked at every send, and the connection goes to the address that was checked: a name that
points elsewhere a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from service.errors import ServiceError
from service.settings import WEBHOOK_ALLOW_PRIVATE

if TYPE_CHECKING:
    from httpx2 import URL

MAX_URL_CHARACTERS: Final = 2_048
_RESOLVE_SECONDS = 3.0
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?[.]?")

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to addresses; raises OSError where there are none."""


async def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of the host, as the system knows them; of an odd spelling of a number too (`0x7f.1`)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


def is_public(address: str) -> bool:
    """Whether the address is one of the internet's, and no loopback, private, link-local, multicast or reserved one.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4) is judged as that.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def parse_target(url: str, *, allow_private: bool) -> "URL":
    """The URL, which can be one of a webhook.

    Raises:
        ServiceError: it is none (`invalid_value`).
    """
    import httpx2

    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise _refused("url is not a URL; give one such as https://example.com/hook") from None
    if parsed.scheme != "https" and not (allow_private and parsed.scheme == "http"):
        remedy = f"http is for private networks, where {WEBHOOK_ALLOW_PRIVATE}=1 allows it"
        raise _refused(f"url must begin with https://; {remedy}")
    if not (_HOST.fullmatch(host_of(parsed)) or _is_address(host_of(parsed))) or parsed.userinfo or parsed.fragment:
        raise _refused("url must name a host, and no user, password or fragment")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise _refused("url names a port that does not exist")
    return parsed


def host_of(url: "URL") -> str:
    """The host as it is asked for and named in the handshake: in ASCII, an IPv6 address without brackets."""
    return url.raw_host.decode("ascii")


async def checked_addresses(url: "URL", *, resolve: Resolve, allow_private: bool) -> Sequence[str]:
    """The addresses of the URL's host, all of which may be connected to.

    Raises:
        ServiceError: one of them is not public (`invalid_value`).
        OSError: there are none.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    host = host_of(url)
    addresses = [host] if _is_address(host) else await resolve(host, port)
    if not allow_private and not all(map(is_public, addresses)):
        reason = "leads to a loopback, private, link-local, multicast or reserved address"
        raise _refused(f"url {reason}; {WEBHOOK_ALLOW_PRIVATE}=1 allows those to every administrator of a project")
    return addresses


async def check_target(url: str, *, resolve: Resolve, allow_private: bool) -> None:
    """The URL may be one of a webhook now; a name that is not known now is taken, for every send looks again.

    Raises:
        ServiceError: it may not (`invalid_value`).
    """
    parsed = parse_target(url, allow_private=allow_private)
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            await checked_addresses(parsed, resolve=resolve, allow_private=allow_private)
    except (OSError, UnicodeError):  # a timeout is an OSError; a label that is too long is the other
        return


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refused(message: str) -> ServiceError:
    return ServiceError("invalid_value", message, param="url")
