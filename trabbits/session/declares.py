"""What becomes of a client's queue.declare on its way to one upstream.

Lives here: names for server-named queues, and laying a rewriter's wishes over the client's octets.
Arguments that nobody touches keep their octets (decoding and encoding a table again is not the identity).
Must not know: how many links there are.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from attrs import evolve
from pamqp import commands

from trabbits.interfaces import IQueueAttributeRewriter, QueueDeclare
from trabbits.wire.declare import QueueDeclareFields, build_declare
from trabbits.wire.decode import decode_method
from trabbits.wire.table import override

if TYPE_CHECKING:
    from trabbits.session.link import Link

GENERATED_QUEUE: Final = b"trabbits.gen-"
GENERATED_TAG: Final = b"trabbits.ctag-"


def generated_name(prefix: bytes) -> bytes:
    """A name nobody else has: the prefix and 128 random bits."""
    return prefix + secrets.token_urlsafe(16).encode()


def named(fields: QueueDeclareFields) -> QueueDeclareFields:
    """The declare with a name: one that the server shall name gets ours, and is exclusive.

    A name made by a broker (``amq.gen-``) could not be declared again on another link.
    """
    if fields.queue or fields.passive:
        return fields
    return evolve(fields, queue=generated_name(GENERATED_QUEUE), exclusive=True)


def rewritten(channel: int, fields: QueueDeclareFields, frame: bytes, rewriter: IQueueAttributeRewriter) -> bytes:
    """The frame for the upstream that this rewriter speaks for; `frame` holds exactly `fields`.  Raises as it does."""
    declare = decode_method(frame)
    assert isinstance(declare, commands.Queue.Declare)
    wanted = rewriter.rewrite(
        QueueDeclare(
            queue=declare.queue,
            passive=fields.passive,
            durable=fields.durable,
            exclusive=fields.exclusive,
            auto_delete=fields.auto_delete,
            arguments=declare.arguments or {},
        )
    )
    changed = evolve(
        fields,
        durable=fields.durable if wanted.durable is None else wanted.durable,
        exclusive=fields.exclusive if wanted.exclusive is None else wanted.exclusive,
        auto_delete=fields.auto_delete if wanted.auto_delete is None else wanted.auto_delete,
        arguments=override(fields.arguments, wanted.arguments) if wanted.arguments else fields.arguments,
    )
    return frame if changed == fields else build_declare(channel, changed)


def for_upstream(
    channel: int,
    original: QueueDeclareFields,
    fields: QueueDeclareFields,
    frame: bytes,
    rewriter: IQueueAttributeRewriter | None,
    link: Link,
) -> bytes:
    """The declare for one link's upstream: `fields` are `named` from the `original` that came as `frame`.

    Raises `UnusableMethod` when the link has no room for it.
    """
    if fields is not original:
        changed = build_declare(channel, fields)
    elif rewriter is None or fields.passive:
        return frame
    else:
        changed = rewritten(channel, fields, frame, rewriter)
    if changed is not frame:
        link.check(changed)
    return changed
