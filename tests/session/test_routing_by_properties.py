"""Fan sessions whose strategy reads properties: each message goes where these say, whole and in order."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from pamqp import body, commands, frame, header
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.fans import ack, confirm
from tests.session.frames import connection_close, on
from tests.session.playbook import Playbook
from trabbits.interfaces import IMessageRoutingStrategy, IPropertyRoutingStrategy, MessageProperties
from trabbits.log_ids import LogId
from trabbits.session import fan_message_routes


@implementer(IMessageRoutingStrategy)
class ByTenant:
    """The header `to` names the upstream, or its place: 5 is b."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def route(self, exchange: str, routing_key: str) -> str | None:
        raise AssertionError("asked without headers")

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        self.seen.append(dict(properties.headers))
        if properties.headers.get("to") == "bad":
            raise LookupError("no such tenant")
        name = properties.headers.get("to")
        return "b" if name == 5 else name


@implementer(IPropertyRoutingStrategy)
class ByNamedTenant(ByTenant):
    """The same, and says which header it is."""

    header_names: tuple[str, ...] = ("to",)
    property_names: tuple[str, ...] = ()


def message(to: str | None, octets: bytes = b"body", channel: int = 1, piece: int = 100_000, **more: Any) -> bytes:
    """A publish with this header."""
    headers = {"to": to, **more} if to is not None else None
    properties = commands.Basic.Properties(content_type="text/plain", headers=headers)
    parts = [frame.marshal(commands.Basic.Publish(exchange="x", routing_key="k"), channel)]
    parts.append(frame.marshal(header.ContentHeader(0, len(octets), properties), channel))
    parts += [frame.marshal(body.ContentBody(octets[at : at + piece]), channel) for at in range(0, len(octets), piece)]
    return b"".join(parts)


def message_with(table: bytes) -> bytes:
    """A publish whose headers are this table."""
    properties = b"\x20\x00" + len(table).to_bytes(4, "big") + table
    payload = b"\x00\x3c\x00\x00" + (4).to_bytes(8, "big") + properties
    content_header = b"\x02\x00\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce"
    method = frame.marshal(commands.Basic.Publish(exchange="x", routing_key="k"), 1)
    return method + content_header + frame.marshal(body.ContentBody(b"body"), 1)


def nested_tables(depth: int) -> bytes:
    """An entry of that many tables in each other."""
    entry = b"\x01?V"
    for _ in range(depth):
        entry = b"\x01?F" + len(entry).to_bytes(4, "big") + entry
    return entry


@pytest.fixture(params=[ByTenant, ByNamedTenant])
def strategy(request: pytest.FixtureRequest) -> ByTenant:
    made: ByTenant = request.param()
    return made


@pytest.fixture
def play(opened: Opening, strategy: ByTenant) -> Playbook:
    return opened("a", "b", routing=strategy)


def test_each_message_goes_where_its_headers_say(play: Playbook) -> None:
    play.client(message("b"), message("a"), message("b", b""))
    play.expect_link("b", message("b"), message("b", b""))
    play.expect_link("a", message("a"))


def test_without_headers_there_is_no_opinion(play: Playbook, strategy: ByTenant) -> None:
    play.client(message(None))
    play.expect_link("a", message(None))
    assert strategy.seen == [{}]


@pytest.mark.parametrize("size", [1, 7, 11, 19, 30])
def test_a_message_in_pieces_goes_whole(play: Playbook, size: int) -> None:
    octets = message("b", b"x" * 100, piece=40) + message("a", b"y")
    for at in range(0, len(octets), size):
        play.session.client_received(octets[at : at + size])
    play.do(lambda: None)
    play.expect_link("b", message("b", b"x" * 100, piece=40))
    play.expect_link("a", message("a", b"y"))


def test_headers_of_all_kinds_are_decoded(play: Playbook, strategy: ByTenant) -> None:
    octets = message("b", number=5, yes=True, nested={"a": [1, "two"]})
    play.client(octets)
    play.expect_link("b", octets)
    named = isinstance(strategy, ByNamedTenant)
    others = {} if named else {"number": 5, "yes": True, "nested": {"a": [1, "two"]}}
    assert strategy.seen == [{"to": "b", **others}]


def test_confirms_are_mapped_back(play: Playbook) -> None:
    confirm(play)
    play.client(message("b"), message("a"), message("b"))
    play.skip()
    play.link("b", ack(2, True))
    play.expect_client(ack(1), ack(3))
    play.link("a", ack(1))
    play.expect_client(ack(2))


@pytest.mark.parametrize("cut", ["method", "header"])
def test_confirms_are_mapped_back_when_a_message_comes_in_pieces(cut: str, play: Playbook) -> None:
    """The one behind it in the same chunk is not counted before it."""
    confirm(play)
    first = message("b", b"one")
    at = int.from_bytes(first[3:7], "big") + 8 + (5 if cut == "header" else 0)
    play.client(first[:at])
    play.client(first[at:], message("a", b"two"))
    play.expect_link("b", first)
    play.expect_link("a", message("a", b"two"))
    play.link("a", ack(1))
    play.expect_client(ack(2))
    play.link("b", ack(1))
    play.expect_client(ack(1))


def test_nothing_follows_a_message_that_closes_its_channel(fresh: Opening, strategy: ByTenant) -> None:
    """A node would take a publish on a channel that it was told to close for a mistake of the connection."""
    play = fresh("a", "b", "c", routing=strategy, optional="c")
    play.open(missing="c")
    play.open_channel(1)
    first = message("c", b"one")
    at = int.from_bytes(first[3:7], "big") + 8
    play.client(first[:at])
    play.client(first[at:], message("a", b"two"))
    assert [len(play.taken(name)) for name in "ab"] == [1, 1]
    play.skip()


def test_messages_interleaved_on_channels_stay_apart(play: Playbook) -> None:
    play.open_channel(2)
    first, second = message("b", b"one"), message("a", b"two", channel=2)
    method = len(on(1, commands.Basic.Publish(exchange="x", routing_key="k")))
    play.client(first[:method], second[:method], first[method:], second[method:])
    play.expect_link("b", first)
    play.expect_link("a", second)


def test_frames_for_all_links_do_not_cut_a_message(play: Playbook) -> None:
    """A link that gets a message gets nothing of ours on the channel before that is whole."""
    octets = message("b", b"x" * 50, piece=25)
    play.client(octets[:-33])
    play.skip()
    relay: Any = play.session.relay
    play.do(lambda: relay.to_link(relay.channels[1], play.links["b"], on(1, commands.Basic.Qos(prefetch_count=1))))
    play.expect_nothing()
    play.client(octets[-33:])
    play.expect_link("b", octets[-33:], on(1, commands.Basic.Qos(prefetch_count=1)))


def test_a_strategy_that_fails_ends_the_session_with_its_name(play: Playbook, strategy: ByTenant) -> None:
    play.client(message("bad"), message("a"))
    name = type(strategy).__name__
    text = f"INTERNAL_ERROR - routing strategy '{name}' failed: it raised LookupError"
    play.expect_client(connection_close(541, text, commands.Basic.Publish))
    fields = {"plugin": name, "exchange": "x", "key": "k", "text": "LookupError: no such tenant"}
    assert play.logged[0] == (LogId.ROUTING_FAILED, fields)
    play.expect_log(LogId.ROUTING_FAILED, LogId.CLIENT_CLOSED)
    play.skip()


@pytest.mark.parametrize("confirms", [True, False])
def test_an_upstream_that_is_not_attached(fresh: Opening, strategy: ByTenant, confirms: bool) -> None:
    play = fresh("a", "b", "c", routing=strategy, optional="c")
    play.open(missing="c")
    play.open_channel(1)
    if confirms:
        confirm(play)
    play.client(message("c", b"x" * 100, piece=30))
    if not confirms:
        for name in "ab":
            play.skip()
            play.link(name, on(1, commands.Channel.CloseOk()))
    reply: Any = frame.unmarshal(play.taken("client")[-1])[2]
    if confirms:
        assert isinstance(reply, commands.Basic.Nack)
    else:
        assert (reply.reply_code, reply.name) == (404, "Channel.Close")
    play.skip()


def test_a_strategy_that_names_its_headers_is_asked_once_for_the_same_values(opened: Opening) -> None:
    strategy = ByNamedTenant()
    play = opened("a", "b", routing=strategy)
    octets = [message("b", trace=number) for number in range(3)]
    play.client(*octets, message("a"), message(None), message(None))
    play.expect_link("b", *octets)
    play.expect_link("a", message("a"), message(None), message(None))
    assert strategy.seen == [{"to": "b"}, {"to": "a"}, {}]


@pytest.mark.parametrize("names", [(), ("to",), ("to", "colour"), ("colour", "to", "missing")])
def test_what_it_names_is_what_matters(opened: Opening, names: tuple[str, ...]) -> None:
    strategy = ByNamedTenant()
    strategy.header_names = names
    play = opened("a", "b", routing=strategy)
    octets = [message(to, colour=colour, trace="x") for to in "ab" for colour in ("red", "blue", 1, "1")]
    play.client(*octets, *octets)
    asked = {tuple((name, repr(seen.get(name))) for name in names) for seen in strategy.seen}
    assert len(asked) == len(strategy.seen) == {0: 1, 1: 2}.get(len(names), 8)
    play.skip()


@implementer(IPropertyRoutingStrategy)
class ByType(ByTenant):
    """The type names the upstream; the header ``to`` goes before it."""

    header_names = ("to",)
    property_names = ("type",)

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        self.seen.append({"type": properties.type, **properties.headers})
        name: str | None = properties.headers.get("to", properties.type)
        return name


def typed(kind: str | None, **headers: str) -> bytes:
    """A publish of this type."""
    properties = commands.Basic.Properties(
        content_type="text/plain",
        headers={**headers} if headers else None,
        message_id="m",
        message_type=kind,
        app_id="shop",
    )
    content = frame.marshal(header.ContentHeader(0, 1, properties), 1) + frame.marshal(body.ContentBody(b"x"), 1)
    return on(1, commands.Basic.Publish(exchange="x", routing_key="k")) + content


def test_other_properties_may_decide(opened: Opening) -> None:
    """Asked once for the same values, however a message is cut."""
    strategy = ByType()
    play = opened("a", "b", routing=strategy)
    messages = [typed("b"), typed("a"), typed("b", to="a"), typed("a", to="b", more="c"), typed(None)]
    for _ in range(2):
        play.client(*messages)
        play.expect_link("b", messages[0], messages[3])
        play.expect_link("a", messages[1], messages[2], messages[4])
    assert strategy.seen == [
        {"type": "b"},
        {"type": "a"},
        {"type": "b", "to": "a"},
        {"type": "a", "to": "b"},
        {"type": None},
    ]
    for at in range(1, len(messages[0])):
        play.session.client_received(messages[0][:at])
        play.session.client_received(messages[0][at:])
        play.do(lambda: None)
        play.expect_link("b", messages[0])
    assert {each["type"] for each in strategy.seen[5:]} == {"b"}


def test_a_property_behind_what_cannot_be_read_is_missing(opened: Opening) -> None:
    """However it is cut: the same message, the same answer."""
    strategy = ByType()
    play = opened("a", "b", routing=strategy)
    hidden = typed("b").replace(b"\x01m", b"\xffm")
    for at in (len(hidden), 5, 40):
        play.session.client_received(hidden[:at])
        play.session.client_received(hidden[at:])
        play.do(lambda: None)
        play.expect_link("a", hidden)
    assert {each["type"] for each in strategy.seen} == {None}


def test_other_exchanges_and_keys_are_asked_for_themselves(opened: Opening) -> None:
    strategy = ByNamedTenant()
    play = opened("a", "b", routing=strategy)
    content = message("b")[len(on(1, commands.Basic.Publish(exchange="x", routing_key="k"))) :]
    for exchange, key in (("x", "k"), ("x", "l"), ("xk", ""), ("x", "k")):
        play.client(on(1, commands.Basic.Publish(exchange=exchange, routing_key=key)) + content)
        play.skip()
    assert len(strategy.seen) == 3


def test_what_is_remembered_is_bounded(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_message_routes, "VALUES_MAX", 10 * 50)
    monkeypatch.setattr(fan_message_routes, "VALUE_COST", 50 - len("\x01x\x01kS\0\0\0\x0200"))
    monkeypatch.setattr(fan_message_routes, "VALUE_MAX", 100)
    strategy = ByNamedTenant()
    strategy.header_names = ("trace",)
    play = opened("a", "b", routing=strategy)
    relay: Any = play.session.relay
    play.client(*(message("b", trace=f"{number:02}") for number in range(25)))
    assert len(strategy.seen) == 25
    assert len(relay.publishing.by_message.remembered) == 5
    play.skip()
    long = message("b", trace="x" * 101)
    play.client(long, long)
    assert len(strategy.seen) == 27
    play.skip()


def test_a_failure_is_not_remembered(opened: Opening) -> None:
    strategy = ByNamedTenant()
    play = opened("a", "b", routing=strategy)
    play.client(message(None), message("bad"))
    play.skip()
    relay: Any = play.session.relay
    assert [values for (_, values) in relay.publishing.by_message.remembered] == [b""]
    assert strategy.seen == [{}, {"to": "bad"}, {"to": "bad"}]


#: Entries of tables that RabbitMQ reads and pamqp does not, or nobody.
ODD = {
    "a time behind the year 9999": b"\x02atT" + (1_759_999_999_000_000).to_bytes(8, "big"),
    "a name that is no UTF-8": b"\x01\xffS\0\0\0\0",
    "too many tables in each other": nested_tables(100),
    "an unknown type": b"\x01?Z",
    "a value longer than the table": b"\x01?S\0\0\xff\xff",
}


@pytest.mark.parametrize("cut", [None, 1, 30])
@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
def test_what_else_stands_in_the_table_does_not_matter(opened: Opening, odd: bytes, cut: int | None) -> None:
    """The same headers, the same upstream: whatever was asked before, and however a message is cut."""
    play = opened("a", "b", routing=ByNamedTenant())
    good, strange = message_with(b"\x02toI\0\0\0\x05"), message_with(b"\x02toI\0\0\0\x05" + odd)
    for octets in (good, strange, good, strange):
        at = len(octets) if cut is None or octets is good else cut
        for piece in (octets[:at], octets[at:]):
            play.session.client_received(piece)
        play.do(lambda: None)
        play.expect_link("b", octets)


def test_a_header_behind_what_cannot_be_read_is_missing(opened: Opening) -> None:
    strategy = ByNamedTenant()
    play = opened("a", "b", routing=strategy)
    hidden = message_with(b"\x01?S\0\0\xff\xff" + b"\x02toI\0\0\0\x05")
    for octets in (hidden, message(None), hidden):
        play.client(octets)
        play.expect_link("a", octets)
    assert strategy.seen == [{}]


def test_messages_without_properties_are_asked_about_once(opened: Opening) -> None:
    """Also if nothing stands behind them: their content headers are the shortest that there are."""
    strategy = ByNamedTenant()
    play = opened("a", "b", routing=strategy)
    for _ in range(3):
        octets = on(1, commands.Basic.Publish(exchange="x", routing_key="k"))
        octets += frame.marshal(header.ContentHeader(0, 0, commands.Basic.Properties()), 1)
        play.session.client_received(octets)
        play.do(lambda: None)
        play.expect_link("a", octets)
    assert strategy.seen == [{}]


@implementer(IMessageRoutingStrategy)
class Later(ByTenant):
    """A coroutine function, by mistake."""

    async def route_message(  # type: ignore[override]
        self, exchange: str, routing_key: str, properties: MessageProperties
    ) -> str | None:
        return None


def test_a_coroutine_is_no_answer_and_is_not_left_alone(opened: Opening, recwarn: pytest.WarningsRecorder) -> None:
    play = opened("a", "b", routing=Later())
    play.client(message("b"))
    close: Any = frame.unmarshal(play.taken("client")[-1])[2]
    assert "answered with a coroutine" in close.reply_text
    play.skip()
    gc.collect()
    assert not [each for each in recwarn if "never awaited" in str(each.message)]
