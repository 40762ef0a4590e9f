"""What each upstream is told of a client, and that nobody comes in whose password nobody has checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.interfaces import Credentials, Identity
from trabbits.session.credentials import Mapped, NotProven, Plan, plan

OWN = Credentials("app", "old")
APP = Identity("app", OWN)
VERIFIED = Identity("app", verified=True)
NEW = Mapped("new")
CHECKED = Mapped("new", client_password="old")

Mappings = dict[str, dict[str, Mapped]]


def planned(identity: Identity, mappings: Mappings) -> Plan:
    return plan(identity, mappings.items())


@pytest.mark.parametrize(
    ("identity", "mappings", "told", "own", "proven"),
    [
        pytest.param(APP, {"a": {}, "b": {}}, {"a": OWN, "b": OWN}, "ab", False, id="its own words"),
        pytest.param(
            APP,
            {"a": {}, "b": {"app": NEW}},
            {"a": OWN, "b": Credentials("app", "new")},
            "a",
            False,
            id="another password at b",
        ),
        pytest.param(
            APP,
            {"a": {}, "b": {"app": Mapped("new", "other")}},
            {"a": OWN, "b": Credentials("other", "new")},
            "a",
            False,
            id="another name at b",
        ),
        pytest.param(
            APP, {"a": {}, "b": {"*": NEW}}, {"a": OWN, "b": Credentials("app", "new")}, "a", False, id="everybody"
        ),
        pytest.param(
            APP,
            {"a": {}, "b": {"*": Mapped("any"), "app": NEW}},
            {"a": OWN, "b": Credentials("app", "new")},
            "a",
            False,
            id="a name goes before everybody",
        ),
        pytest.param(APP, {"a": {"other": NEW}}, {"a": OWN}, "a", False, id="somebody else"),
        pytest.param(APP, {"a": {"app": CHECKED}}, {"a": Credentials("app", "new")}, "", True, id="checked here"),
        pytest.param(
            VERIFIED, {"a": {"app": NEW}}, {"a": Credentials("app", "new")}, "", True, id="verified and mapped"
        ),
        pytest.param(
            VERIFIED, {"a": {"app": CHECKED}}, {"a": Credentials("app", "new")}, "", True, id="verified, no password"
        ),
        pytest.param(
            Identity("app", OWN, {"b": Credentials("b", "b")}),
            {"a": {}, "b": {}},
            {"a": OWN, "b": Credentials("b", "b")},
            "a",
            False,
            id="the mechanism has something for b",
        ),
        pytest.param(
            Identity("app", OWN, {"b": Credentials("b", "b")}),
            {"a": {}, "b": {"app": NEW}},
            {"a": OWN, "b": Credentials("app", "new")},
            "a",
            False,
            id="the configuration goes before the mechanism",
        ),
        pytest.param(
            Identity("app", Credentials("t", "token"), verified=True),
            {"a": {}},
            {"a": Credentials("t", "token")},
            "a",
            True,
            id="verified with credentials",
        ),
    ],
)
def test_plans(identity: Identity, mappings: Mappings, told: Mapping[str, Credentials], own: str, proven: bool) -> None:
    found = planned(identity, mappings)
    assert found == Plan(told, frozenset(own), proven)
    assert not any(secret in repr(found) for secret in ("old", "new", "token"))


NOBODY = "nobody can check the password of user 'app'"


@pytest.mark.parametrize(
    ("identity", "mappings", "why"),
    [
        pytest.param(APP, {"a": {"app": NEW}}, NOBODY, id="mapped at the only upstream"),
        pytest.param(APP, {"a": {"app": NEW}, "b": {"*": NEW}}, NOBODY, id="mapped everywhere"),
        pytest.param(Identity("app", upstream_credentials={"a": OWN}), {"a": {}}, NOBODY, id="by the mechanism, too"),
        pytest.param(
            Identity("app", Credentials("app", "guess")),
            {"a": {"app": CHECKED}},
            "user 'app' did not show the client_password for upstream 'a'",
            id="wrong password",
        ),
        pytest.param(
            Identity("app", Credentials("app", "guess")),
            {"a": {}, "b": {"app": CHECKED}},
            "user 'app' did not show the client_password for upstream 'b'",
            id="wrong password, whatever a says",
        ),
        pytest.param(
            Identity("app"),
            {"a": {"app": Mapped("new", client_password="")}},
            "user 'app' did not show the client_password for upstream 'a'",
            id="no password is not an empty one",
        ),
        pytest.param(VERIFIED, {"a": {}}, "user 'app' has no credentials for upstream 'a'", id="nothing for a"),
        pytest.param(
            VERIFIED,
            {"a": {"app": NEW}, "b": {"other": NEW}},
            "user 'app' has no credentials for upstream 'b'",
            id="nothing for b",
        ),
        pytest.param(
            Identity("app\0x", Credentials("app\0x", "y", "AMQPLAIN")),
            {"a": {}, "b": {"*": NEW}},
            r"the credentials of user 'app\x00x' for upstream 'b' contain NUL",
            id="a name that PLAIN cannot say",
        ),
    ],
)
def test_who_is_not_let_in(identity: Identity, mappings: Mappings, why: str) -> None:
    with pytest.raises(NotProven) as caught:
        planned(identity, mappings)
    assert str(caught.value).startswith(why)
    assert caught.value.told == ("has no credentials" in why)


passwords = st.sampled_from(["x", "y", ""])
mapped = st.builds(Mapped, passwords, st.none() | st.just("u"), st.none() | passwords)


@given(
    st.builds(
        Identity,
        st.sampled_from(["app", "*"]),
        st.none() | st.builds(Credentials, st.just("app"), passwords),
        st.dictionaries(st.sampled_from("abc"), st.just(Credentials("z", "z"))),
        st.booleans(),
    ),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from(["app", "*"]), mapped), min_size=1),
)
def test_the_rule(identity: Identity, mappings: Any) -> None:
    """Every plan has something for each upstream, and somebody who proves the client."""
    try:
        found = planned(identity, mappings)
    except NotProven:
        return
    assert found.by_upstream.keys() == mappings.keys()
    assert all(found.by_upstream[name] is identity.credentials for name in found.own)
    shown = identity.credentials.password if identity.credentials else None
    used = [mapping.get(identity.user) or mapping.get("*") for mapping in mappings.values()]
    asked = [each.client_password for each in used if each is not None and each.client_password is not None]
    assert found.own or identity.verified or (asked and set(asked) == {shown})
