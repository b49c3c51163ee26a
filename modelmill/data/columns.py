"""The types of a data set's columns: one schema for all shards, which every reader applies.

The schema of one shard has notes on what its values are that their type does not tell: metadata of its fields.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from modelmill.core.errors import UserError
from modelmill.data import nested_text
from modelmill.recipe.column_type import ColumnType

if TYPE_CHECKING:
    from modelmill.data.shard import Shard

# Integers beyond this have no floating-point number of their own.
LARGEST_EXACT = 2**53
# What integers and fractions have in common where floating point would round an integer.
DECIMAL = pa.decimal128(38, 18)
ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "decimal": DECIMAL,
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
# The key of a dataset's manifest under which its schema is.
SCHEMA = "schema"
# Notes: an integer is among the values that floating point would round; pieces of the shard have other types.
_LARGE, _MIXED = b"large", b"mixed"
# A note on a CSV column, whose type was made out from texts: a number; words for a missing value alone, such as NA;
# a text of numbers that would not stay what they are, such as 007; any other text.
CSV = b"csv"
NUMBER, MISSING, NUMERIC, WORDS = b"number", b"missing", b"numeric", b"words"


class _Conflict(Exception):
    """Two types that have none in common."""


def chosen(types: Mapping[str, ColumnType]) -> pa.Schema:
    """Return the schema of the columns whose types a person has chosen."""
    return pa.schema([(name, ARROW_TYPES[type_]) for name, type_ in types.items()])


def noted(table: pa.Table) -> pa.Schema:
    """Return the schema of a piece of a shard, with notes."""
    return pa.schema([_noted(field, table[field.name]) for field in table.schema])


def _noted(field: pa.Field, column: pa.ChunkedArray) -> pa.Field:
    notes = dict(field.metadata or {})
    notes = {CSV: notes[CSV]} if CSV in notes else {}
    if pa.types.is_integer(field.type) and field.type.bit_width == 64 and len(column):
        extremes = pc.min_max(column).as_py()
        if extremes["max"] is not None and max(extremes["max"], -extremes["min"]) > LARGEST_EXACT:
            notes[_LARGE] = b"1"
    return pa.field(field.name, _plain(field.type), metadata=notes)


def joined(before: pa.Schema, piece: pa.Schema, where: str) -> pa.Schema:
    """Return the schema, with notes, of two pieces of one shard.

    Args:
        before: The schema of what comes first.
        piece: The schema of what follows.
        where: Name of the shard in errors.

    Raises:
        UserError: Types of a column conflict.
    """
    fields = {field.name: field for field in before}
    for field in piece:
        if (known := fields.get(field.name)) is None:
            fields[field.name] = field
            continue
        try:
            both = _join(known, field, is_strict=False)
        except _Conflict:
            raise UserError(
                f"{where}: column {field.name!r} is {field.type}, before it {known.type}; make the types equal"
            ) from None
        types = {one.type for one in (known, field)} - {pa.null()}
        fields[field.name] = _note(both, _MIXED) if len(types) > 1 else both
    return pa.schema(fields.values())


def resolve(shards: Iterable[tuple["Shard", pa.Schema]], is_strict: bool = False) -> pa.Schema:
    """Return one schema for all shards: each column has a type that keeps every value of every shard.

    Null gives way to any type. Integers and floating point become floating point, or decimals where floating point
    would round an integer. A column that is text in one CSV shard is text in all.

    Args:
        shards: The shards with their schemas, which have notes.
        is_strict: Whether numbers in one CSV shard and words in another are a mistake.

    Raises:
        UserError: A shard's column has a type that the shards before it rule out.
    """
    fields: dict[str, pa.Field] = {}
    for shard, schema in shards:
        for field in schema:
            if (known := fields.get(field.name)) is None:
                fields[field.name] = field
                continue
            try:
                fields[field.name] = _join(known, field, is_strict)
            except _Conflict:
                raise UserError(
                    f"{shard.uri}: column {field.name!r} is {field.type}, in the shards before it {known.type}; "
                    "make the types equal, or choose one with data.columns"
                ) from None
    return pa.schema(fields.values())


def needs_conforming(shard: pa.Schema, wanted: pa.Schema) -> bool:
    """Tell whether values of a shard become others when all shards' schema is applied.

    Args:
        shard: The shard's schema, with notes.
        wanted: The schema of all shards.
    """
    types = dict(zip(wanted.names, wanted.types, strict=True))
    return any(
        not pa.types.is_null(field.type) and (field.type != types[field.name] or _MIXED in (field.metadata or {}))
        for field in shard
    )


def conform(table: pa.Table, wanted: pa.Schema, where: str) -> pa.Table:
    """Return the table with the types of all shards' schema; it keeps its own columns.

    Args:
        table: A piece of a shard.
        wanted: The schema of all shards.
        where: Name of the shard in errors.

    Raises:
        UserError: A value would be another in the type that is wanted.
    """
    types = dict(zip(wanted.names, wanted.types, strict=True))
    fields, values = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        type_ = types.get(field.name, field.type)
        try:
            values.append(column if field.type == type_ else _exactly(column, type_))
        except pa.ArrowException as error:
            raise UserError(
                f"{where}: column {field.name!r} is {field.type}, and not every value of it is one of "
                f"{type_} ({error}); choose its type with data.columns"
            ) from None
        fields.append(field if field.type == type_ else pa.field(field.name, type_))
    return pa.Table.from_arrays(values, schema=pa.schema(fields)) if fields else table


def packed(schema: pa.Schema) -> str:
    """Return a schema as text, with the notes of its fields."""
    return base64.b64encode(schema.serialize()).decode()


def unpacked(text: str) -> pa.Schema:
    """Return the schema that a text is of."""
    return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(text)))


def bare(schema: pa.Schema) -> pa.Schema:
    """Return a schema without notes."""
    return pa.schema([pa.field(field.name, field.type) for field in schema])


def _join(one: pa.Field, other: pa.Field, is_strict: bool) -> pa.Field:
    notes = {**(one.metadata or {}), **(other.metadata or {})}
    kinds = {field.metadata[CSV] for field in (one, other) if CSV in (field.metadata or {})}
    if kinds:
        notes[CSV] = max(kinds, key=[MISSING, NUMBER, NUMERIC, WORDS].index)
    return pa.field(one.name, _common(one, other, kinds, is_strict, _LARGE in notes), metadata=notes)


def _common(one: pa.Field, other: pa.Field, kinds: set[bytes], is_strict: bool, has_large: bool) -> pa.DataType:
    """Return the type that two columns have in common."""
    first, second = one.type, other.type
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if MISSING in kinds and NUMBER in kinds:
        return first if pa.types.is_string(second) else second
    if kinds and pa.types.is_string(first) | pa.types.is_string(second):
        if is_strict and {NUMBER, WORDS} <= kinds:
            raise _Conflict
        return pa.string()
    numbers = [t for t in (first, second) if pa.types.is_integer(t) or pa.types.is_floating(t) or t == DECIMAL]
    if len(numbers) == 2 and (DECIMAL in numbers or (has_large and any(map(pa.types.is_floating, numbers)))):
        return DECIMAL
    try:
        schemas = [pa.schema([("v", type_)]) for type_ in (first, second)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise _Conflict from None


def _exactly(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """Return the values in another type; lists and objects are JSON where text is wanted.

    Raises:
        pyarrow.ArrowInvalid: A value would be another one.
    """
    if pa.types.is_nested(column.type) and pa.types.is_string(type_):
        return nested_text.of(column)
    cast = column.cast(type_)
    rounds = (pa.types.is_floating(column.type) and pa.types.is_decimal(type_)) or (
        pa.types.is_decimal(column.type) and pa.types.is_floating(type_)
    )
    if rounds and not pc.all(pc.equal(cast.cast(column.type), column)).as_py():
        raise pa.ArrowInvalid("a number has more digits")
    return cast


def _note(field: pa.Field, name: bytes) -> pa.Field:
    return field.with_metadata({**(field.metadata or {}), name: b"1"})


def _plain(type_: pa.DataType) -> pa.DataType:
    """Return the type of the values that a dictionary is of, and any other type as it is."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_
