"""Steps that many playbooks of fan sessions begin with, each over all links, expected on the way."""

from __future__ import annotations

from pamqp import base

from tests.session.frames import Basic, Confirm, Tx, on
from tests.session.playbook import Playbook


def asked(play: Playbook, request: base.Frame, *, channel: int = 1) -> None:
    """The client asks for something that goes to all links as it is."""
    play.client(on(channel, request))
    play.expect_links(on(channel, request))


def answered(play: Playbook, reply: base.Frame, *, channel: int = 1) -> None:
    """All links answer alike, and the client gets one answer."""
    for name in play.links:
        play.expect_nothing()
        play.link(name, on(channel, reply))
    play.expect_client(on(channel, reply))


def consume(play: Playbook, tag: str = "c", *, channel: int = 1, no_ack: bool = False) -> None:
    """Start a consumer."""
    asked(play, Basic.Consume(queue="q", consumer_tag=tag, no_ack=no_ack), channel=channel)
    answered(play, Basic.ConsumeOk(tag), channel=channel)


def prefetch(play: Playbook, count: int, *, whole_channel: bool = False, channel: int = 1) -> None:
    """Set a prefetch count, for consumers to come or for the whole channel."""
    asked(play, Basic.Qos(prefetch_count=count, global_=whole_channel), channel=channel)
    answered(play, Basic.QosOk(), channel=channel)


def confirm(play: Playbook, *, channel: int = 1) -> None:
    """Ask for publisher confirms."""
    asked(play, Confirm.Select(), channel=channel)
    answered(play, Confirm.SelectOk(), channel=channel)


def transact(play: Playbook, *, channel: int = 1) -> None:
    """Make the channel transactional."""
    asked(play, Tx.Select(), channel=channel)
    answered(play, Tx.SelectOk(), channel=channel)


def ack(tag: int, multiple: bool = False, *, channel: int = 1) -> bytes:
    """A basic.ack."""
    return on(channel, Basic.Ack(tag, multiple))


def nack(tag: int, multiple: bool = False, requeue: bool = True, *, channel: int = 1) -> bytes:
    """A basic.nack."""
    return on(channel, Basic.Nack(tag, multiple, requeue))


def reject(tag: int, requeue: bool = True, *, channel: int = 1) -> bytes:
    """A basic.reject."""
    return on(channel, Basic.Reject(tag, requeue))
