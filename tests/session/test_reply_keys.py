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


def test_a_key_that_was_seen() -> None:
    keys = ReplyKeys()
    one, two = PREFIX + b"one.x", PREFIX + b"two.x"
    keys.note(b"in the middle " + one + b" of octets\xce" + two, "a")
    keys.note(two, "b")
    assert keys.upstream_of(one) == "a"
    assert keys.upstream_of(two) == "b"
    assert keys.upstream_of(PREFIX + b"three.x") is None


@pytest.mark.parametrize("head", [b"\x83X", b"\x83g"])
@pytest.mark.parametrize("node", [b"rabbit@a", b"rabbit@ab"])
def test_a_key_of_a_node_that_was_seen(node: bytes, head: bytes) -> None:
    keys = ReplyKeys()
    keys.note(key(node, head=head), "a")
    assert node_of(key(node, head=head)) == node
    assert keys.upstream_of(key(node, b"another", head)) == "a"
    assert keys.upstream_of(key(b"rabbit@elsewhere")) is None


def test_nodes_of_the_same_name_tell_nothing() -> None:
    """Two clusters may both have a rabbit@localhost; the keys themselves still do."""
    keys = ReplyKeys()
    one, two = key(b"rabbit@localhost", b"one"), key(b"rabbit@localhost", b"two")
    keys.note(one, "a")
    keys.note(two, "b")
    keys.note(one, "a")
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
        keys.note(each, "a")
        assert keys.upstream_of(each) in (None, "a")


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not seen for the longest time goes first."""
    monkeypatch.setattr(reply_keys, "KEYS_MAX", 3)
    monkeypatch.setattr(reply_keys, "NODES_MAX", 2)
    keys = ReplyKeys()
    several = [PREFIX + b"%d.x" % number for number in range(4)]
    for each in several[:3]:
        keys.note(each, "a")
    keys.note(several[0], "a")
    keys.note(several[3], "a")
    assert [keys.upstream_of(each) for each in several] == ["a", None, "a", "a"]
    for node in (b"one", b"two", b"three"):
        keys.note(key(node), "b")
    assert keys.upstream_of(key(b"one", b"other")) is None
    assert keys.upstream_of(key(b"three", b"other")) == "b"
