"""Direct reply-to keys: whose they are, told by the keys that were seen and by the node in them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.session import reply_keys
from trabbits.session.reply_keys import PREFIX, ReplyKeys, node_of


def key(node: bytes, secret: bytes = b"c2VjcmV0", head: bytes = b"\x83X") -> bytes:
    """A key of this node, in the external term format of one version or another."""
    name = b"w" + bytes((len(node),)) + node if len(node) % 2 else b"d" + len(node).to_bytes(2, "big") + node
    return PREFIX + b64encode(head + name + bytes(9)) + b"." + secret


def short(text: bytes) -> bytes:
    """A short string as it stands in a frame."""
    return bytes((len(text),)) + text


def test_a_key_that_was_seen() -> None:
    keys = ReplyKeys()
    one, two = PREFIX + b"one.x", PREFIX + b"two.x"
    keys.note(b"in the middle " + short(one) + b" of octets\xce" + short(two), "a")
    assert keys.upstream_of(one) == "a"
    assert keys.upstream_of(two) == "a"
    assert keys.upstream_of(PREFIX + b"three.x") is None


def test_a_key_that_is_passed_on_belongs_to_whom_it_came_from_first() -> None:
    """A worker may hand a request on through another broker; that changes neither the key's nor its node's owner."""
    keys = ReplyKeys()
    one = key(b"rabbit@a", b"one")
    keys.note(short(one), "a")
    keys.note(b"body: " + one + b"\xce" + short(one), "b")
    assert keys.upstream_of(one) == "a"
    assert keys.upstream_of(key(b"rabbit@a", b"another")) == "a"


@pytest.mark.parametrize("behind", [b"\x322mmmm", b"abc", b"=", b""])
def test_a_key_ends_where_its_string_ends(behind: bytes) -> None:
    """The next field may begin with an octet that could belong to a key."""
    keys = ReplyKeys()
    one = PREFIX + b"one.x"
    keys.note(short(one) + behind, "a")
    assert keys.upstream_of(one) == "a"
    assert keys.upstream_of(one + behind[:1]) == ("a" if not behind else None)


def test_a_key_that_is_cut_off_is_not_kept() -> None:
    keys = ReplyKeys()
    one = PREFIX + b"one.x"
    keys.note(short(one)[:-1], "a")
    assert keys.upstream_of(one) is None
    assert keys.upstream_of(one[:-1]) is None


@pytest.mark.parametrize("head", [b"\x83X", b"\x83g"])
@pytest.mark.parametrize("node", [b"rabbit@a", b"rabbit@ab"])
def test_a_key_of_a_node_that_was_seen(node: bytes, head: bytes) -> None:
    keys = ReplyKeys()
    keys.note(short(key(node, head=head)), "a")
    assert node_of(key(node, head=head)) == node
    assert keys.upstream_of(key(node, b"another", head)) == "a"
    assert keys.upstream_of(key(b"rabbit@elsewhere")) is None


def test_nodes_of_the_same_name_tell_nothing() -> None:
    """Two clusters may both have a rabbit@localhost; the keys themselves still do."""
    keys = ReplyKeys()
    one, two = key(b"rabbit@localhost", b"one"), key(b"rabbit@localhost", b"two")
    keys.note(short(one), "a")
    keys.note(short(two), "b")
    keys.note(short(one), "a")
    assert keys.upstream_of(one) == "a"
    assert keys.upstream_of(two) == "b"
    assert keys.upstream_of(key(b"rabbit@localhost", b"three")) is None


@pytest.mark.parametrize(
    "octets",
    [
        PREFIX,
        PREFIX + b"no base64!",
        PREFIX + b"a.b",
        PREFIX + b64encode(b"\x83m\0\0\0\x01x"),
        PREFIX + b64encode(b"\x83Xw\x30too short"),
    ],
)
def test_keys_without_a_node(octets: bytes) -> None:
    assert node_of(octets) is None


@given(st.binary(max_size=60))
def test_any_octets_have_a_node_or_not(octets: bytes) -> None:
    keys = ReplyKeys()
    for each in (octets, PREFIX + octets, PREFIX + b64encode(b"\x83X" + octets)):
        keys.note(short(each), "a")
        assert keys.upstream_of(each) in (None, "a")


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not seen for the longest time goes first."""
    monkeypatch.setattr(reply_keys, "KEYS_MAX", 3)
    monkeypatch.setattr(reply_keys, "NODES_MAX", 2)
    keys = ReplyKeys()
    several = [PREFIX + b"%d.x" % number for number in range(4)]
    for each in several[:3]:
        keys.note(short(each), "a")
    keys.note(short(several[0]), "a")
    keys.note(short(several[3]), "a")
    assert [keys.upstream_of(each) for each in several] == ["a", None, "a", "a"]
    for node in (b"one", b"two", b"three"):
        keys.note(short(key(node)), "b")
    assert keys.upstream_of(key(b"one", b"other")) is None
    assert keys.upstream_of(key(b"three", b"other")) == "b"
