"""Field tables: every type of RabbitMQ's, corrupt ones, changes that leave the rest as it was."""

from __future__ import annotations

import datetime
import decimal
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode

from trabbits.wire.errors import Violation
from trabbits.wire.table import (
    MAX_NESTING,
    check_table,
    decode_table,
    decode_value,
    encode_table,
    encode_value,
    join_table,
    override,
    split_table,
)

#: One value of each type, as RabbitMQ understands the types.
EVERY_TYPE = [
    b"t\x01",
    b"b\xff",
    b"B\xff",
    b"s\xff\xfe",
    b"u\xff\xfe",
    b"I\xff\xff\xff\xfe",
    b"i\xff\xff\xff\xfe",
    b"l\xff\xff\xff\xff\xff\xff\xff\xfe",
    b"L\xff\xff\xff\xff\xff\xff\xff\xfe",
    b"f\x3f\x80\0\0",
    b"d\x3f\xf0\0\0\0\0\0\0",
    b"D\x02\0\0\x01\x3a",
    b"S\0\0\0\x03a\xffc",
    b"S\0\0\0\0",
    b"A\0\0\0\x0cI\0\0\0\x01A\0\0\0\x01VV",
    b"F\0\0\0\x09\x01kF\0\0\0\0\0V",
    b"T\xff\xff\xff\xff\xff\xff\xff\xff",
    b"x\0\0\0\x02\0\xff",
    b"V",
]

FIXED = {b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8, b"D": 5, b"T": 8, b"V": 0}


def _of_type(kind: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=FIXED[kind], max_size=FIXED[kind]).map(lambda octets: kind + octets)


def _with_length(kind: bytes, octets: bytes) -> bytes:
    return kind + struct.pack(">I", len(octets)) + octets


RAW_SCALARS = st.one_of(
    st.sampled_from(list(FIXED)).flatmap(_of_type),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: b"d" + struct.pack(">d", value)),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda value: b"f" + struct.pack(">f", value)),
    st.builds(_with_length, st.sampled_from([b"S", b"x"]), st.binary(max_size=20)),
)
KEYS = st.binary(max_size=10)


def entries_of_tables(unique_by: Callable[[Any], Any] | None = None) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """Entries of any kind, with tables and arrays in them."""

    def with_more_in_it(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        arrays = st.lists(inner, max_size=4).map(lambda items: _with_length(b"A", b"".join(items)))
        tables = st.lists(st.tuples(KEYS, inner), max_size=4, unique_by=unique_by)
        return arrays | tables.map(lambda entries: _with_length(b"F", join_table(entries)))

    values = st.recursive(RAW_SCALARS, with_more_in_it, max_leaves=10)
    return st.lists(st.tuples(KEYS, values), max_size=8, unique_by=unique_by)


ENTRIES = entries_of_tables()


def nested(kind: bytes, depth: int) -> bytes:
    """A table entry with `depth` tables or arrays in each other."""
    inner = b""
    for _ in range(depth):
        inner = kind + struct.pack(">I", len(inner)) + inner
        if kind == b"F":
            inner = b"\x01k" + inner
    return inner if kind == b"F" else b"\x01k" + inner


@pytest.mark.parametrize("value", EVERY_TYPE, ids=lambda value: repr(value[:1]))
def test_every_type_is_split_and_joined(value: bytes) -> None:
    """The raw value is what stood in the table, also with entries on both sides."""
    entries = [(b"before", b"V"), (b"key", value), (b"", b"t\0")]
    octets = b"\x06beforeV\x03key" + value + b"\0t\0"
    assert join_table(entries) == octets
    assert split_table(octets) == entries
    check_table(octets)


@given(ENTRIES)
def test_any_table_is_split_and_joined(entries: list[tuple[bytes, bytes]]) -> None:
    """Order, duplicates and every octet are kept."""
    octets = join_table(entries)
    assert split_table(octets) == entries
    check_table(octets)
    assert override(octets, {}) is octets


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\x01", "a key without a value"),
        (b"\x05ab", "a key without a value"),
        (b"\x01a", "a key without a value"),
        (b"\x01aZ", "unknown type octet 0x5a"),
        (b"\x01a\x00", "unknown type octet 0x00"),
        (b"\x01aI\0\0\0", "'I' needs 4 octets, 3 are left"),
        (b"\x01aD\0\0\0\0", "'D' needs 5 octets, 4 are left"),
        (b"\x01at", "'t' needs 1 octets, 0 are left"),
        (b"\x01aS\0\0\0", "the length of a value of type 'S' is cut off"),
        (b"\x01aS\0\0\0\x02a", "'S' needs 2 octets, 1 are left"),
        (b"\x01ax\xff\xff\xff\xff", "'x' needs 4294967295 octets, 0 are left"),
        (b"\x01aF\0\0\0\x05", "'F' needs 5 octets, 0 are left"),
        (b"\x01aF\0\0\0\x01\x03", "a key without a value"),
        (b"\x01aF\0\0\0\x03\x01bI\0\0\0\0", "'I' needs 4 octets, 0 are left"),
        (b"\x01aA\0\0\0\x01I\0\0\0\0", "'I' needs 4 octets, 0 are left"),
        (b"\x01aA\0\0\0\x01Z", "unknown type"),
        (b"\x01ad\x7f\xf0\0\0\0\0\0\0", "not a finite number"),
        (b"\x01ad\x7f\xf8\0\0\0\0\0\0", "not a finite number"),
        (b"\x01af\x7f\x80\0\0", "not a finite number"),
        (nested(b"F", MAX_NESTING), "nested deeper"),
        (nested(b"A", MAX_NESTING), "nested deeper"),
        (nested(b"F", 20000), "nested deeper"),
    ],
)
def test_corrupt_tables_are_violations(octets: bytes, text: str) -> None:
    """RabbitMQ refuses each of them (but for the depth), by crashing its reader; here it is said what is wrong."""
    for read in (split_table, check_table):
        with pytest.raises(Violation, match="cannot decode a field table") as caught:
            read(octets)
        assert caught.value.code == 501
        assert text in caught.value.text


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_deep_tables_are_fine_up_to_the_bound(kind: bytes) -> None:
    """The bound leaves room for anything that is no attack, and pamqp can decode it."""
    octets = nested(kind, MAX_NESTING - 1)
    check_table(octets)
    decode.field_table(struct.pack(">I", len(octets)) + octets)


@given(st.binary(max_size=300))
def test_random_octets_are_a_table_or_a_violation(octets: bytes) -> None:
    """Only `Violation` gets out, and both readers agree."""
    try:
        entries = split_table(octets)
    except Violation:
        with pytest.raises(Violation):
            check_table(octets)
    else:
        check_table(octets)
        assert join_table(entries) == octets


@given(ENTRIES.filter(bool), st.data())
def test_a_truncated_table_is_a_violation_or_ends_between_entries(
    entries: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """A cut inside an entry is always found."""
    octets = join_table(entries)
    cut = data.draw(st.integers(0, len(octets) - 1))
    starts = [len(join_table(entries[:count])) for count in range(len(entries))]
    if cut in starts:
        assert split_table(octets[:cut]) == entries[: starts.index(cut)] or len(set(starts)) < len(starts)
    else:
        with pytest.raises(Violation):
            split_table(octets[:cut])


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (True, b"t\x01"),
        (False, b"t\x00"),
        (0, b"I\0\0\0\0"),
        (-1, b"I\xff\xff\xff\xff"),
        (2**31 - 1, b"I\x7f\xff\xff\xff"),
        (-(2**31), b"I\x80\0\0\0"),
        (2**31, b"l\0\0\0\0\x80\0\0\0"),
        (60000, b"I\0\0\xea\x60"),
        (2**63 - 1, b"l\x7f\xff\xff\xff\xff\xff\xff\xff"),
        (-(2**63), b"l\x80\0\0\0\0\0\0\0"),
        (0.1, b"d\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
        ("ü", b"S\0\0\0\x02\xc3\xbc"),
        ("\udcff", b"S\0\0\0\x01\xff"),
        (b"\xff", b"S\0\0\0\x01\xff"),
        (bytearray(b"\xff"), b"x\0\0\0\x01\xff"),
        (None, b"V"),
        (decimal.Decimal("3.14"), b"D\x02\0\0\x01\x3a"),
        (datetime.datetime(2020, 1, 1, tzinfo=UTC), b"T\0\0\0\0\x5e\x0b\xe1\0"),
        ([1, "a"], b"A\0\0\0\x0bI\0\0\0\x01S\0\0\0\x01a"),
        ((), b"A\0\0\0\0"),
        ({}, b"F\0\0\0\0"),
        ({"b": 1, "a": None}, b"F\0\0\0\x0a\x01bI\0\0\0\x01\x01aV"),
    ],
)
def test_values_are_these_octets(value: Any, octets: bytes) -> None:
    """Integers are signed, floats are doubles, order stays; all of it is what RabbitMQ can parse."""
    assert encode_value(value) == octets
    check_table(b"\x01k" + octets)


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        float("nan"),
        float("inf"),
        datetime.datetime(1960, 1, 1, tzinfo=UTC),
        {"k" * 256: 1},
        [2**64],
    ],
)
def test_values_out_of_range_are_value_errors(value: Any) -> None:
    """Somebody asked for what AMQP cannot say."""
    with pytest.raises(ValueError, match=r"."):
        encode_value(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, [object()], decimal.Decimal("NaN"), decimal.Decimal(2**40)])
def test_values_without_a_type_are_type_errors(value: Any) -> None:
    """Somebody asked for what AMQP has no type for."""
    with pytest.raises(TypeError):
        encode_value(value)


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        (b"", {"a": 1}, b"\x01aI\0\0\0\x01"),
        (b"\x01af\x3f\x80\0\0\x01bB\x01", {"b": None}, b"\x01af\x3f\x80\0\0"),
        (b"\x01aV\x01bB\x01\x01cV", {"b": "x"}, b"\x01aV\x01bS\0\0\0\x01x\x01cV"),
        (b"\x01bV\x01aV\x01bt\x01", {"b": True}, b"\x01bt\x01\x01aV"),
        (b"\x01bV\x01aV\x01bt\x01", {"b": None}, b"\x01aV"),
        (b"\x01aV", {"missing": None}, b"\x01aV"),
        (b"\x01aV", {"z": True, "y": False}, b"\x01aV\x01zt\x01\x01yt\x00"),
        (b"\x02\xc3\xbcV", {"ü": True}, b"\x02\xc3\xbct\x01"),
    ],
)
def test_override_changes_only_what_is_named(before: bytes, values: dict[str, Any], after: bytes) -> None:
    """In place, removed, appended; everything else keeps its octets and its order."""
    assert override(before, values) == after


@given(ENTRIES, st.dictionaries(st.text(max_size=4), st.none() | st.integers(-5, 5), max_size=4))
def test_override_is_what_a_dictionary_would_do(
    entries: list[tuple[bytes, bytes]], values: dict[str, int | None]
) -> None:
    """Against a naive model: untouched entries in order, named ones once."""
    names = {name.encode(): value for name, value in values.items()}
    changed = split_table(override(join_table(entries), values))
    assert [entry for entry in changed if entry[0] not in names] == [
        entry for entry in entries if entry[0] not in names
    ]
    assert {key: raw for key, raw in changed if key in names} == {
        key: encode_value(value) for key, value in names.items() if value is not None
    }
    assert sum(key in names for key, _ in changed) == sum(value is not None for value in values.values())


def test_override_of_a_corrupt_table_is_a_violation() -> None:
    """It is not passed on half changed."""
    with pytest.raises(Violation):
        override(b"\x01aZ", {"a": 1})


@given(st.dictionaries(st.text(max_size=10), st.integers(-(2**63), 2**63 - 1) | st.text() | st.booleans() | st.none()))
def test_pamqp_decodes_what_we_encode(table: dict[str, Any]) -> None:
    """The values come back through an independent decoder."""
    octets = encode_table(table)
    assert decode.field_table(struct.pack(">I", len(octets)) + octets)[1] == table


def test_of_several_entries_of_one_name_the_first_one_counts() -> None:
    """As for RabbitMQ's table_lookup, at every depth; pamqp takes the last one."""
    twice = join_table([(b"k", b"t\x01"), (b"k", b"t\x00")])
    assert decode_table(twice) == {"k": True}
    assert decode_table(join_table([(b"k", _with_length(b"F", twice)), (b"k", b"V")])) == {"k": {"k": True}}


@given(entries_of_tables(unique_by=lambda entry: entry[0]))
def test_tables_are_decoded_as_pamqp_does(entries: list[tuple[bytes, bytes]]) -> None:
    octets = join_table(entries)
    try:
        expected = decode.field_table(struct.pack(">I", len(octets)) + octets)[1]
    except (ValueError, ArithmeticError, OSError):
        with pytest.raises(ValueError, match=r"\S"):
            decode_table(octets)
    else:
        # By their texts: a number that is no number is not equal to itself.
        assert repr(decode_table(octets)) == repr(expected)


@given(ENTRIES)
def test_single_values_are_decoded_as_in_tables(entries: list[tuple[bytes, bytes]]) -> None:
    for _, raw in entries:
        octets = join_table([(b"k", raw)])
        try:
            expected = decode_table(octets)["k"]
        except ValueError:
            with pytest.raises(ValueError, match=r"\S"):
                decode_value(raw)
        else:
            assert repr(decode_value(raw)) == repr(expected)


@pytest.mark.parametrize("octets", [b"VV", b"I\0\0", b"Z", b"F\0\0\0\x01k"])
def test_a_corrupt_value_is_not_decoded(octets: bytes) -> None:
    with pytest.raises(Violation):
        decode_value(octets)


def test_a_corrupt_table_is_not_decoded() -> None:
    with pytest.raises(Violation):
        decode_table(b"\x01k")


class Counted(bytes):
    """Octets that count how many of them are copied."""

    copied = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if isinstance(index, slice):
            self.copied += len(found)
        return found


@pytest.mark.parametrize("octets", [b"\0V" * 1000, b"\1kA\0\0\3\xe8" + b"V" * 1000, nested(b"F", MAX_NESTING - 1)])
def test_decoding_copies_no_octet_twice(octets: bytes) -> None:
    """A table of many small values takes no longer than one of a few large ones."""
    counted = Counted(octets)
    assert decode_table(counted)
    assert counted.copied <= len(octets)
