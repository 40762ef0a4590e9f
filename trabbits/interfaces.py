"""The public contract between trabbits and its plugins: zope interfaces and the plain values they exchange.

Lives here: interfaces and value classes.  Must not know: Twisted, the configuration's format, sockets, or anything
that implements these interfaces (the built-in ones are in ``trabbits.plugins``).

A plugin is found by its declaration (`Plugin` in ``trabbits.plugins.declaring``), which says what kind of thing it
makes, under which name, and which options it takes.  What it makes provides one of the interfaces here.

Every method here is called in the reactor's thread, between two reads of a socket: it must not block.  All but
`IConnectionPolicy.admit` answer with a value, never with a Deferred.

An exception, ``sys.exit()`` included, never stops the proxy.  It is logged with the plugin's name and ends at most the
session that it concerns, with 541.  Where a selector fails, none ends: ``least_connections`` stands in for this
attempt.  What `IConnectionPolicy.left` raises is logged only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import Factory, field, fields, frozen
from zope.interface import Attribute, Interface, Invalid, invariant

#: Octets of the largest body that is copied, where a strategy does not say otherwise.
COPY_MAX: Final = 1024 * 1024


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class Mirrored:
    """The answer of a strategy for a message that goes to one upstream and is copied to others.

    `upstream` is authoritative: the client hears its confirms and returns, and nothing of what becomes of the copies.
    None is "no opinion", as without copies.  `copies` are names of upstreams; the authoritative one gets none.
    A message whose body has more than `max_size` octets is not copied.
    """

    upstream: str | None
    copies: tuple[str, ...] = field(converter=_names)
    max_size: int = COPY_MAX


#: What a strategy may answer.
Decision: TypeAlias = str | Mirrored | None


class IRoutingStrategy(Interface):
    """Decides which upstream gets a published message, by its exchange and routing key."""

    def route(exchange: str, routing_key: str) -> Decision:
        """Return the name of the upstream for messages published to `exchange` with `routing_key`.

        None means "no opinion": the first upstream of the session gets the message.  The same arguments must give the
        same answer for as long as the configuration lives, because trabbits asks once per distinct pair and session
        and remembers the answer.  Both arguments are at most 255 octets of UTF-8 (octets that are not UTF-8 arrive as
        lone surrogates); `exchange` is empty for the default exchange.  An exception, or an answer that is no upstream
        of the configuration, closes the connection of the client that published with 541 and the plugin's name.

        Those that may answer with `Mirrored` provide `IMirroringStrategy`.
        """


@frozen
class MessageProperties:
    """The properties of a message (AMQP 0-9-1 section 1.8.1), as its publisher set them; None where it did not.

    Texts are at most 255 octets of UTF-8 (octets that are not UTF-8 arrive as lone surrogates); numbers are what they
    are on the wire, whatever sense they make.  `headers` are decoded values, empty without any.  `delivery_mode` is 1
    for transient and 2 for persistent messages, `priority` 0 to 255, `expiration` milliseconds as text, `timestamp`
    seconds since 1970-01-01 UTC.
    """

    headers: Mapping[str, Any] = Factory(dict)
    content_type: str | None = None
    content_encoding: str | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None


class IMessageRoutingStrategy(IRoutingStrategy):
    """One that reads properties, too: trabbits asks it for every message, which costs the hot path some microseconds.

    `route` is asked where there are no properties to look at: by tools that try a key.
    """

    def route_message(exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        """Return the name of the upstream for this message, None for "no opinion"; `Mirrored` as from `route`.

        Nothing of `properties` is decoded before it is looked at, and it is decoded anew each time but for the headers.
        What cannot be decoded is None; headers are empty then, because the broker will say what is wrong with them.
        `properties` must not be kept or changed.
        """


def _named(strategy: object, attribute: str) -> Collection[Any]:
    names: object = getattr(strategy, attribute, None)
    if not isinstance(names, Collection) or isinstance(names, str | bytes):
        raise Invalid(f"{attribute} is {names!r:.100}, expected a collection of names")
    return names


def _names_headers(strategy: IPropertyRoutingStrategy) -> None:
    for name in _named(strategy, "header_names"):
        try:
            named = 0 < len(name.encode()) <= 255
        except (AttributeError, UnicodeEncodeError):
            named = False
        if not named:
            raise Invalid(f"header_names has {name!r:.100}, which is no name of a header")


def _names_properties(strategy: IPropertyRoutingStrategy) -> None:
    for name in _named(strategy, "property_names"):
        if name == "headers" or name not in [each.name for each in fields(MessageProperties)]:
            raise Invalid(f"property_names has {name!r:.100}, which is no name of a property, or has names of its own")


class IPropertyRoutingStrategy(IMessageRoutingStrategy):
    """One that says which properties it reads: trabbits asks it once for messages that have the same values there.

    For the same exchange, routing key and values of what it names (which may be missing) the answer must be the same
    for as long as the configuration lives, as for `route`.  `route_message` gets what is named only; a header that
    cannot be decoded is missing.  This is for values of which few are different: where each message has one of its
    own, remembering answers costs a little more than asking.
    """

    header_names: Collection[str] = Attribute(
        "Names of all the headers that an answer may depend on, each 1 to 255 octets of UTF-8."
    )
    property_names: Collection[str] = Attribute(
        "Names of all the other properties that it may depend on: attributes of `MessageProperties`."
    )

    invariant(_names_headers)
    invariant(_names_properties)


class IMirroringStrategy(IRoutingStrategy):
    """One whose answers may be `Mirrored`; it may read properties as well, and provide both.

    It has no more methods than the others.  trabbits looks for it when a session begins and keeps a channel of each
    link free for copies then, so clients are offered one channel less.
    """


@frozen
class QueueDeclare:
    """A client's ``queue.declare`` (AMQP 0-9-1 section 1.7.2.1), as an upstream would get it without rewriting.

    `arguments` holds decoded AMQP field values and must not be changed.
    """

    queue: str
    passive: bool = False
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, Any] = Factory(dict)


@frozen
class QueueAttributes:
    """What a rewriter wants to differ from the client's declare; None leaves the client's value alone.

    `arguments` is laid over the client's arguments: a None value removes the client's argument of that name.
    """

    durable: bool | None = None
    auto_delete: bool | None = None
    exclusive: bool | None = None
    arguments: Mapping[str, Any] = Factory(dict)


class IQueueAttributeRewriter(Interface):
    """Changes what one upstream is asked for when a client declares a queue."""

    def rewrite(declare: QueueDeclare) -> QueueAttributes:
        """Return what this upstream shall get differently from `declare`.

        Called once per client declare and upstream, but neither for passive declares nor for queues that the
        server names.  Several rewriters of one upstream are asked in turn, each with what those before it made of the
        declare.  The queue's name cannot be changed here: that is what `IQueueRenamer` is for.  `declare.queue` is the
        client's name, whatever the upstream calls the queue.  An exception, or an answer that no upstream can be asked
        for, closes the client's connection with 541 and the plugin's name; so it is with `IQueueRenamer`.  A declare
        that outgrows the upstream's frames closes the client's channel with 406, and no upstream gets it.

        Never asked for a message: there is time to think, but all other sessions wait meanwhile.
        """


class IQueueRenamer(IQueueAttributeRewriter):
    """One that also gives queues other names at its upstream, of which the client learns nothing.

    trabbits changes the names in everything that names a queue: declares, bindings, consumers, gets, purges, deletes,
    publishes to the default exchange (``CC`` and ``BCC`` included) and dead-lettering to it, headers that tell where a
    message died (``x-death`` and the like), and back again in what the upstream says.  Names that brokers make
    (``amq.``), names that trabbits makes (``trabbits.gen-``) and the empty name are never asked about.

    Both methods get and give 1 to 255 octets of UTF-8, and must answer the same for as long as queues live.  They are
    called when a name is seen first on a link, then remembered for a while.  A client cannot use a name for which
    ``original(renamed(queue))`` is another one, or for which the result is too long or of a kind that is never asked
    about: its channel is closed with 406.  So no two names become one.  Only where a message died, such a name stays as
    it is: it is no address, and may be anything that a client wrote there.  Of several renamers, each gets what those
    before it made of the name; on the way back the last one is asked first.
    """

    def renamed(queue: str) -> str:
        """Return what this upstream calls the client's `queue`; the same name if it calls it so, too."""

    def original(queue: str) -> str:
        """Return the client's name of the upstream's `queue`: the inverse; `queue` itself if none becomes this one."""


@frozen
class ExchangeDeclare:
    """A client's ``exchange.declare`` (AMQP 0-9-1 section 1.6.2.1), as an upstream would get it without rewriting.

    `arguments` holds decoded AMQP field values and must not be changed.
    """

    exchange: str
    type: str = "direct"
    passive: bool = False
    durable: bool = False
    auto_delete: bool = False
    internal: bool = False
    arguments: Mapping[str, Any] = Factory(dict)


@frozen
class ExchangeAttributes:
    """What a rewriter wants to differ from the client's declare; None leaves the client's value alone.

    `type` has 1 to 255 octets of UTF-8.  `arguments` is laid over the client's arguments: a None value removes the
    client's argument of that name.
    """

    type: str | None = None
    durable: bool | None = None
    auto_delete: bool | None = None
    internal: bool | None = None
    arguments: Mapping[str, Any] = Factory(dict)


@frozen
class Binding:
    """What a client binds, or unbinds: ``queue.bind``, ``queue.unbind`` (AMQP 0-9-1 sections 1.7.2.3 and 1.7.2.5),
    ``exchange.bind`` or ``exchange.unbind`` (https://www.rabbitmq.com/docs/e2e), as an upstream would get it.

    Messages go from the exchange `source` to `destination`, which is a queue or an exchange.  `arguments` holds
    decoded AMQP field values and must not be changed.
    """

    source: str
    destination: str
    destination_type: Literal["queue", "exchange"] = "queue"
    routing_key: str = ""
    arguments: Mapping[str, Any] = Factory(dict)


@frozen
class BindingAttributes:
    """What a rewriter wants to differ from the client's binding; None leaves the client's routing key alone.

    `arguments` is laid over the client's arguments: a None value removes the client's argument of that name.
    """

    routing_key: str | None = None
    arguments: Mapping[str, Any] = Factory(dict)


class ITopologyRewriter(IQueueAttributeRewriter):
    """One that also changes what its upstream is asked for when a client declares exchanges, or binds.

    Both methods are called once for each such method of a client and upstream, and of several rewriters each gets what
    those before it made.  One that leaves queues as they are answers `rewrite` with ``QueueAttributes()``.

    Names cannot be changed here.  Those of queues are the client's, whatever the upstream calls them: one object may
    provide `IQueueRenamer` as well.  An answer that no upstream can be asked for closes the client's connection as with
    `rewrite`.  Where the result of a sound answer does not fit (a routing key of more than 255 octets, a method larger
    than the frames of the upstream), the client's channel is closed with 406, and no upstream gets anything.
    """

    def rewrite_exchange(declare: ExchangeDeclare) -> ExchangeAttributes:
        """Return what this upstream shall get differently from `declare`.  Not called for passive declares.

        Clients declare an exchange again and again, and a broker compares: the same declare must give the same answer.
        """

    def rewrite_binding(binding: Binding) -> BindingAttributes:
        """Return what this upstream shall get differently from `binding`.

        Called when a client binds and when it unbinds, and is not told which: to unbind is to name what the bind made,
        so the same binding must give the same answer for as long as it lives.

        Where the client leaves the queue's name empty, which means the queue declared last on its channel,
        `destination` is that queue's name, and `routing_key` as well if the client left both empty, because RabbitMQ
        takes it for the key then.  A queue that the server names goes by the name that the client was told
        (``trabbits.gen-``).  Not called where no queue was declared on the channel: the upstream refuses that.
        """


@frozen
class NodeView:
    """A node of an upstream, as a selector sees it.

    `address` is ``host:port``; `labels` are those of the configuration; `links` counts the connections that this
    process has to it or is opening; `healthy` is what the health check says, `suspect` that it failed a client lately.
    """

    address: str
    labels: Mapping[str, str]
    links: int
    healthy: bool
    suspect: bool


class INodeSelector(Interface):
    """Orders the nodes of one upstream for one attempt at a connection.  Each upstream has one of its own."""

    def order(nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        """Return `nodes` in the order in which they are to be tried; what is left out is tried last.

        They are nodes that the same speaks against: trabbits tries healthy ones before suspect ones, and these before
        isolated ones, and asks for each group by itself.  `nodes` is never empty and comes in a random order.

        Asked anew for each attempt, never for a message: there is time to think, but all other sessions wait meanwhile.
        """


@frozen
class Visitor:
    """A client that wants in: it has logged in and named its virtual host, and waits for its ``connection.open-ok``.

    `address` is ``host:port``; `properties` is what it says about itself, decoded, and must not be changed; `session`
    is the session's id, for logs.
    """

    session: str
    address: str
    user: str
    virtual_host: str
    properties: Mapping[str, Any] = Factory(dict)


@frozen
class Refusal:
    """Why a client is not let in: the ``reply-code`` and ``reply-text`` of the connection.close that it gets.

    RabbitMQ's own codes for this are 403 ACCESS_REFUSED, 530 NOT_ALLOWED and 320 CONNECTION_FORCED.  `code` is 1 to
    65535; any other is a fault of the plugin, and the client gets 541.  Of a `text` with more than 255 octets of UTF-8
    the client gets as much as fits, with ``...`` at its end.
    """

    code: int
    text: str


class IConnectionPolicy(Interface):
    """Admits clients or refuses them, and hears when an admitted one has left.  One for the whole process.

    It lives as long as its options stay the same, over reloads.
    """

    def admit(visitor: Visitor) -> Refusal | Awaitable[Refusal | None] | None:
        """Return None to admit the client, a `Refusal` otherwise; or a Deferred or coroutine that gives one of them.

        A client that leaves, or an answer that takes longer than ``policy_timeout``, cancels it; then it counts as
        refused.  With several policies, each is asked only if those before it admitted the client.
        """

    def left(visitor: Visitor) -> None:
        """A client that `admit` let in has left, whoever refused it afterwards.  Called once for each."""


class IDataPolicy(IConnectionPolicy):
    """One that also bounds how fast clients may send."""

    def received(visitor: Visitor, octets: int) -> float:
        """`octets` came from this client; return for how many seconds nothing more is read from it, 0 for none.

        Called for every read of the client's socket, on the path of every message: keep it to a microsecond.
        """


@frozen
class ClientCertificate:
    """What a client's certificate says; the client has proved that it is its own, and its authority is trusted.

    `subject` is the distinguished name as RFC 4514 writes it, ``O=Example,CN=orders``; `common_name` is empty without
    one, and several are joined by commas, as RabbitMQ has them.  The others are the subject alternative names.
    """

    subject: str
    common_name: str = ""
    dns_names: tuple[str, ...] = ()
    email_addresses: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()


@frozen
class Peer:
    """A client that has not said yet who it is.

    `address` is ``host:port``; `tls` says whether the connection is encrypted.  `certificate` is None for a client
    that showed none, and wherever trabbits trusts no authority for clients.
    """

    address: str
    tls: bool = False
    certificate: ClientCertificate | None = None


@frozen
class Challenge:
    """Octets that the client has to answer: they go out as ``connection.secure``.  At most 4080."""

    octets: bytes = field(repr=False)


@frozen
class Credentials:
    """What an upstream is told in ``connection.start-ok``; `mechanism` is PLAIN or AMQPLAIN."""

    username: str
    password: str = field(repr=False)
    mechanism: str = "PLAIN"


@frozen
class Identity:
    """Who a client is.

    `credentials` are the client's own words, and what every upstream gets that nothing else is meant for; None if
    there are none.  `upstream_credentials` are for upstreams by name.  What the configuration maps for a user and an
    upstream goes before both.

    `verified`: the mechanism has proof that the client is `user`.  Otherwise somebody else needs it: an upstream that
    accepted `credentials`, which have to be those of `user` then, or a password that the configuration wants to see.
    Without, the client is refused.
    """

    user: str
    credentials: Credentials | None = None
    upstream_credentials: Mapping[str, Credentials] = Factory(dict)
    verified: bool = False


class IAuthExchange(Interface):
    """One client's way through a mechanism.  Dropped without a word when the client goes."""

    def respond(response: bytes) -> Challenge | Identity | Refusal:
        """Take the client's `response` and say what follows.

        Called with the response of ``connection.start-ok``, then with that of each ``connection.secure-ok`` (AMQP
        0-9-1 sections 1.4.2.2 and 1.4.2.4).  It may be any octets, 64 KiB at most, and holds secrets: neither a text
        nor an exception should repeat it.  Each answer of the client may take ``handshake_timeout``; more than 10
        challenges are taken for a fault of the mechanism.  Never asked for a message, but all other sessions wait
        meanwhile: everybody feels the slow hash of a password.

        A client without the capability ``authentication_failure_close`` finds its socket closed where the refusal's
        code is 403: it would not understand connection.close here, and neither would RabbitMQ send one.
        """


class IAuthMechanism(Interface):
    """A SASL mechanism: finds out who a client is, or passes on what the client says.  One for a configuration."""

    name: str = Attribute(
        """Its name in ``connection.start``: 1 to 20 capital letters, digits, hyphens and underscores (RFC 4422).

        May come from options; no two mechanisms of a configuration may have the same."""
    )
    priority: int = Attribute("Those with a higher one are announced first, equals in the order of the configuration.")
    needs_tls: bool = Attribute("Whether it is neither announced nor accepted where the connection is not encrypted.")
    verifies: bool = Attribute("Whether its identities are verified; if not, `Identity.verified` may not be true.")

    def begin(peer: Peer) -> IAuthExchange:
        """A client has chosen this mechanism; its response comes right after."""
