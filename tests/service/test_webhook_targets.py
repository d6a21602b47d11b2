"""Where webhooks may go: to public addresses alone, whatever a name says a moment later."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from service.errors import ServiceError
from service.store.records import new_id
from service.store.signals import DeliveryRecord, EndpointRecord, EventType
from service.webhook_sender import Answer, Reach, tell
from service.webhook_targets import Resolve, check_target, is_public, parse_target, resolve_name
from tests.service.receiver import Receiver, receiving

INSIDE = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
)
OUTSIDE = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "2002:808:808::1")


def resolving(*answers: Sequence[str]) -> Resolve:
    """Gives one answer after the other, the last one for good; an empty one is none."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        found = left.pop(0) if len(left) > 1 else left[0]
        if not found:
            raise OSError(f"{host} is not known")
        return found

    return resolve


def told(url: str, *, reach: Reach) -> Answer:
    """What comes of one try."""
    types = (EventType.JOB_FAILED,)
    secret = "whsec_" + "A" * 32
    endpoint = EndpointRecord(
        id="e", project="p", name="n", url=url, event_types=types, secret=secret, created_at=0.0, updated_at=0.0
    )
    delivery = DeliveryRecord(
        id="d",
        endpoint_id="e",
        event_id=new_id("evt"),
        event_type=types[0],
        event_at=0.0,
        data={},
        created_at=0.0,
        next_at=None,
    )
    return asyncio.run(tell(endpoint, delivery, reach=reach, now=0.0))


@pytest.mark.parametrize("address", INSIDE)
def test_an_inner_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_outer_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "example.com", "https://", "https:///x", "//example.com/"),
        *("https://user:pass@example.com/", "https://example.com/#part", "https://example.com:0/", "https://[::1"),
        *("https://example.com:99999/", "javascript:alert(1)", "", " ", "https://exa mple.com/"),
    ],
)
def test_what_is_no_public_https_url_is_refused(url: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_target(url, allow_private=False)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "url")


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "localhost", "127.0.0.1", "[::1]", "[::ffff:7f00:1]"]
)
def test_no_spelling_of_this_machine_is_taken(host: str) -> None:
    with pytest.raises(ServiceError, match=r"loopback.*INFONCE_WEBHOOK_ALLOW_PRIVATE=1"):
        asyncio.run(check_target(f"https://{host}/", resolve=resolve_name, allow_private=False))


def test_one_inner_address_among_others_is_enough_and_an_unknown_name_is_taken() -> None:
    mixed = resolving(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(ServiceError):
        asyncio.run(check_target("https://example.com/", resolve=mixed, allow_private=False))
    asyncio.run(check_target("https://example.com/", resolve=resolving([]), allow_private=False))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_a_name_that_has_moved_inside_is_not_told(receiver: Receiver) -> None:
    moved = resolving(["8.8.8.8"], ["127.0.0.1"])
    url = f"https://example.com:{receiver.port}/"
    asyncio.run(check_target(url, resolve=moved, allow_private=False))
    answer = told(url, reach=Reach(resolve=moved))
    assert answer.status_code is None and "loopback" in answer.detail and receiver.received == []


def test_the_connection_goes_to_the_address_that_was_checked_under_the_name(receiver: Receiver) -> None:
    once = resolving(["127.0.0.1"], [])  # a second look-up would fail
    url = f"http://hooks.example:{receiver.port}/a?b=c"
    assert told(url, reach=Reach(allow_private=True, resolve=once)) == Answer(status_code=204, detail="")
    (came,) = receiver.received
    assert (came.path, came.headers["host"]) == ("/a?b=c", f"hooks.example:{receiver.port}")


def test_of_several_addresses_the_first_that_takes_a_connection_is_told(receiver: Receiver) -> None:
    both = resolving(["127.0.0.77", "127.0.0.1"])  # nothing listens on the first
    url = f"http://hooks.example:{receiver.port}/"
    assert told(url, reach=Reach(allow_private=True, resolve=both)).status_code == 204


def test_a_redirect_is_an_answer_and_not_a_way(receiver: Receiver) -> None:
    receiver.status, receiver.location = 307, receiver.url
    assert told(receiver.url, reach=Reach(allow_private=True)).status_code == 307
    assert len(receiver.received) == 1


def test_of_an_answer_only_the_beginning_is_kept(receiver: Receiver) -> None:
    receiver.status, receiver.answer = 500, b"\x00\xff" + b"x" * 5_000_000
    answer = told(receiver.url, reach=Reach(allow_private=True))
    assert answer.status_code == 500 and len(answer.detail) == 500 and answer.detail.startswith("\ufffd\ufffdx")


def test_who_does_not_answer_is_left(receiver: Receiver) -> None:
    port = receiver.port
    reach = Reach(allow_private=True, resolve=resolving([]))
    assert told("http://hooks.example/", reach=reach).detail == "hooks.example is not known"
    assert told(f"https://127.0.0.1:{port}/", reach=Reach(allow_private=True)).status_code is None  # it speaks no TLS
