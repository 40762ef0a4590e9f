"""The contract of authentication mechanisms.

Lives here: `AuthMechanismTestsMixIn`.  Must not know: whom any mechanism believes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from trabbits.interfaces import (
    Challenge,
    ClientCertificate,
    Credentials,
    IAuthExchange,
    IAuthMechanism,
    Identity,
    Peer,
    Refusal,
)
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.policies import CLOSE_CODES
from trabbits.testing.contracts.rules import require, require_prompt
from trabbits.wire.table import encode_table

#: RFC 4422 section 3.1.
_NAME: Final = re.compile(r"[A-Z0-9_-]{1,20}")
#: Octets of the largest challenge: before connection.tune no frame is larger than 4096 (AMQP 0-9-1 section 4.2.3).
_CHALLENGE_MAX: Final = 4080
#: More of them are taken for a fault of the mechanism.
_CHALLENGES: Final = 10
#: Something that clients say and nobody may repeat.
_PASSWORD: Final = "c0rrect-h0rse-battery-staple"

_RESPONSES: Final = (
    b"",
    b"\0",
    b"\0\0",
    b"\0\0\0",
    b"guest",
    b"\0guest\0guest",
    b"other\0guest\0guest",
    b"\0guest\0\xff\xfe",
    b"\xff" * 300,
    b"n,,n=guest,r=abc",
    b"e30.e30.e30",
    b"Bearer e30.e30.e30",
    b"{}",
    bytes(range(256)),
    b"x" * 65536,
    b"\0" * 65536,
    _PASSWORD.encode(),
    b"\0guest\0" + _PASSWORD.encode(),
    b"\0" + _PASSWORD.encode(),
    encode_table({"LOGIN": "guest", "PASSWORD": _PASSWORD}),
    encode_table({"LOGIN": _PASSWORD, "PASSWORD": 1}),
    encode_table({"LOGIN": {"a": [1]}}),
)
_PEERS: Final = (
    Peer("192.0.2.1:50000", tls=True),
    Peer("[2001:db8::1]:50000"),
    Peer("192.0.2.1:50000", tls=True, certificate=ClientCertificate("")),
    Peer(
        "192.0.2.1:50000",
        tls=True,
        certificate=ClientCertificate(
            "O=Example,CN=ü\0orders", "ü\0orders", ("orders.example",), ("a@example",), ("urn:x",), ("192.0.2.1",)
        ),
    ),
)


class AuthMechanismTestsMixIn(PluginTestsMixIn):
    """For what provides `IAuthMechanism`.

    `conversations` are what clients say, response after response, that the mechanism identifies, and `peers` are such
    clients; a mechanism that goes by certificates needs a peer of its own, too.
    """

    interface: ClassVar[InterfaceClass] = IAuthMechanism
    conversations: Sequence[Sequence[bytes]] = ()
    peers: Sequence[Peer] = (Peer("192.0.2.1:50000", tls=True),)

    def test_its_attributes_are_sound(self) -> None:
        """Name, priority and the two yes-or-nos are what trabbits announces mechanisms by."""
        mechanism = self.make_plugin(self.make_reactor())
        name, priority = mechanism.name, mechanism.priority
        sound = isinstance(name, str) and _NAME.fullmatch(name) is not None
        require(sound, f"its name is {name!r}, not 1 to 20 capital letters, digits, hyphens and underscores")
        require(isinstance(priority, int) and not isinstance(priority, bool), f"its priority is {priority!r}")
        for attribute in ("needs_tls", "verifies"):
            value = getattr(mechanism, attribute)
            require(isinstance(value, bool), f"its {attribute} is {value!r}, neither true nor false")

    def test_it_begins_exchanges(self) -> None:
        """What `begin` gives for any client fits `IAuthExchange`."""
        mechanism = self.make_plugin(self.make_reactor())
        for peer in self._all_peers(mechanism):
            try:
                verifyObject(IAuthExchange, mechanism.begin(peer))
            except Invalid as error:
                text = " ".join(str(error).split())
                raise AssertionError(f"begin() gives something that is no exchange: {text}") from None

    def test_answers_can_be_used(self) -> None:
        """Whatever octets clients send: a `Challenge`, an `Identity` or a `Refusal` that can be, and an end to it."""
        mechanism = self.make_plugin(self.make_reactor())
        for peer in self._all_peers(mechanism):
            for response in self._all_responses():
                answers = list(_talk(mechanism.begin(peer), [response] * (_CHALLENGES + 1)))
                for answer in answers:
                    self._require_usable(mechanism, answer)
                require(not isinstance(answers[-1], Challenge), f"more than {_CHALLENGES} challenges and no end")

    def test_clients_are_identified(self) -> None:
        """Those that say what they should."""
        mechanism = self.make_plugin(self.make_reactor())
        for peer in self.peers:
            for conversation in self.conversations:
                answer = list(_talk(mechanism.begin(peer), conversation))[-1]
                require(isinstance(answer, Identity), f"after all of a conversation the answer is {answer!r:.200}")

    def test_clients_do_not_get_into_each_others_way(self) -> None:
        """Many log in at the same time; each gets what it would get alone."""
        mechanism = self.make_plugin(self.make_reactor())
        for peer in self.peers:
            for conversation in self.conversations:
                alone = [type(answer) for answer in _talk(mechanism.begin(peer), conversation)]
                others = [_talk(mechanism.begin(peer), conversation) for _ in range(3)]
                for expected, *together in zip(alone, *others, strict=True):
                    same = all(type(answer) is expected for answer in together)
                    require(same, f"several clients at once get {together!r:.200}, not {expected.__name__}")

    def test_secrets_are_not_repeated(self) -> None:
        """No text of an answer, and nothing that may be logged, has what a client sent as a password."""
        mechanism = self.make_plugin(self.make_reactor())
        for peer in self._all_peers(mechanism):
            for response in _RESPONSES:
                if _PASSWORD.encode() not in response:
                    continue
                exchange = mechanism.begin(peer)
                for answer in _talk(exchange, [response] * 3):
                    if isinstance(answer, Identity) and answer.user == _PASSWORD:
                        continue  # it took this for a user's name
                    shown = f"{answer!r} {answer.text if isinstance(answer, Refusal) else ''} {exchange!r}"
                    require(_PASSWORD not in shown, "an answer shows what the client sent, which is a secret")

    def test_answering_does_not_block(self) -> None:
        """All clients wait while one is answered."""
        mechanism = self.make_plugin(self.make_reactor())
        peer = next(self._all_peers(mechanism))
        require_prompt("begin()", self.time_limit, [partial(mechanism.begin, peer)] * 5)
        firsts = [each[0] for each in self.conversations if each] + list(_RESPONSES[:5])
        for first in firsts:
            exchanges = [mechanism.begin(peer) for _ in range(5)]
            require_prompt("respond()", self.time_limit, [partial(each.respond, first) for each in exchanges])

    def _all_peers(self, mechanism: Any) -> Iterator[Peer]:
        for peer in (*self.peers, *_PEERS):
            if peer.tls or not mechanism.needs_tls:
                yield peer

    def _all_responses(self) -> Iterator[bytes]:
        yield from _RESPONSES
        for conversation in self.conversations:
            for response in conversation:
                yield response
                yield response[:-1]
                yield response + b"\0"

    def _require_usable(self, mechanism: Any, answer: object) -> None:
        match answer:
            case Challenge():
                octets: object = answer.octets
                fits = isinstance(octets, bytes) and len(octets) <= _CHALLENGE_MAX
                require(fits, f"a challenge is not octets, at most {_CHALLENGE_MAX}")
            case Refusal():
                require(answer.code in CLOSE_CODES, f"it refuses with {answer.code!r}, which closes no connection")
                text: object = answer.text
                require(isinstance(text, str) and bool(text), "it refuses without a text")
            case Identity():
                self._require_sound(mechanism, answer)
            case _:
                raise AssertionError(f"it answers {type(answer).__name__}, no Challenge, Identity or Refusal")

    def _require_sound(self, mechanism: Any, identity: Identity) -> None:
        require(isinstance(identity.user, str), f"the user is {type(identity.user).__name__}, no text")
        known: object = identity.verified
        require(isinstance(known, bool), f"verified is {known!r}, neither true nor false")
        require(not known or mechanism.verifies, "an identity is verified, but the mechanism verifies none")
        own = identity.credentials
        same = known is True or not isinstance(own, Credentials) or own.username == identity.user
        require(same, "an identity is not verified, and its credentials are another user's")
        others: object = identity.upstream_credentials
        if not isinstance(others, Mapping):
            raise AssertionError("upstream_credentials is no mapping")
        strangers = set(others) - set(self.upstreams)
        require(not strangers, f"there are credentials for {sorted(strangers)}, which are no upstreams")
        for credentials in (identity.credentials, *others.values()):
            if credentials is None:
                continue
            right = isinstance(credentials, Credentials) and credentials.mechanism in ("PLAIN", "AMQPLAIN")
            require(right, f"credentials are {type(credentials).__name__}, or of a mechanism that no upstream has")
            texts = isinstance(credentials.username, str) and isinstance(credentials.password, str)
            require(texts, "credentials are not texts")


def _talk(exchange: Any, responses: Sequence[bytes]) -> Iterator[object]:
    """The answers to these responses, as far as more are asked for."""
    for response in responses:
        answer = exchange.respond(response)
        yield answer
        if not isinstance(answer, Challenge):
            return
