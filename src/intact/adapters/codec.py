"""Records of the model to JSON and back: the one codec of the HTTP seam and of the store.

In: any frozen dataclass of `intact.model` made of text, bytes, numbers, digests, enums, tuples and other such dataclasses. Out: UTF-8 JSON
that names every field. Decoding is strict: an unknown or missing field, a wrong type, an unknown enum value or a document beyond the bound
is an InputError that names the place. A field with a default may be missing, so that what an older version wrote can be read.

Bytes are written as `model.bytestext` does, digests as `sha256:<hex>`, text enums by value, integer enums by name (`RollBack`).

How: each dataclass gets a msgspec Struct of the same fields (made once, on first use), which does the parsing and checking in C; between
the two goes one conversion, also made once per type.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum, IntEnum
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from intact.model.bytestext import escape_bytes, unescape_bytes
from intact.model.digest import SIZES, Digest
from intact.model.errors import InputError

MAX_BYTES = 16 << 20
"""The largest document that is decoded unless the caller says otherwise."""

T = TypeVar("T")


def encode(record: Any) -> bytes:
    """`record`, a dataclass of the model, as a JSON object. Raises InputError if a text in it is not Unicode or a number not finite."""
    return _encode_json(_shape(type(record)).dump(record))


def encode_all(records: Iterable[Any]) -> bytes:
    """`records` as a JSON array."""
    return _encode_json([_shape(type(record)).dump(record) for record in records])


def decode(kind: type[T], unverified_data: bytes, *, max_bytes: int = MAX_BYTES) -> T:
    """The record of type `kind` in `unverified_data`; raises InputError."""
    _check_size(kind, unverified_data, max_bytes)
    record: T = _decode(kind, _shape(kind).one, unverified_data, _shape(kind).load)
    return record


def decode_all(kind: type[T], unverified_data: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[T, ...]:
    """The records of type `kind` in a JSON array; raises InputError."""
    _check_size(kind, unverified_data, max_bytes)
    load = _shape(kind).load
    records: tuple[T, ...] = _decode(kind, _shape(kind).many, unverified_data, lambda items: tuple(load(item) for item in items))
    return records


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How one type is written: `wire` is what msgspec sees, `dump` and `load` convert to it and from it."""

    wire: Any
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]

    @property
    def one(self) -> msgspec.json.Decoder[Any]:
        return _make_decoder(self.wire)

    @property
    def many(self) -> msgspec.json.Decoder[Any]:
        return _make_decoder(list[self.wire])  # type: ignore[name-defined]


@cache
def _make_decoder(wire: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wire)


def _encode_json(wire: object) -> bytes:
    try:
        return msgspec.json.encode(wire)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InputError(f"cannot be written as JSON: {error}") from None


def _check_size(kind: Any, unverified_data: bytes, max_bytes: int) -> None:
    if len(unverified_data) > max_bytes:
        raise InputError(f"a {kind.__name__} of {len(unverified_data)} bytes is larger than the bound of {max_bytes}")


def _decode(kind: Any, decoder: msgspec.json.Decoder[Any], unverified_data: bytes, load: Callable[[Any], Any]) -> Any:
    try:
        return load(decoder.decode(unverified_data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not a {kind.__name__}: {error}") from None


def _same(value: Any) -> Any:
    return value


def _shape(kind: Any) -> _Shape:
    return _make_shape(kind)


@cache
def _make_shape(kind: Any) -> _Shape:
    """The shape of a type as annotated: a plain type, an enum, a dataclass, `X | None`, `tuple[X, ...]` or `tuple[X, Y]`."""
    if kind in (str, int, bool, float, type(None)):
        return _Shape(wire=kind, dump=_check_finite if kind is float else _same, load=_same)
    if kind is bytes:
        return _Shape(wire=str, dump=escape_bytes, load=unescape_bytes)
    if kind is Digest:
        return _Shape(wire=str, dump=str, load=_load_digest)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _tuple_shape(arguments)
    if origin in (types.UnionType, typing.Union) and len(arguments) == 2 and arguments[1] is type(None):
        inner = _shape(arguments[0])
        return _Shape(
            wire=inner.wire | None,
            dump=lambda value: None if value is None else inner.dump(value),
            load=lambda value: None if value is None else inner.load(value),
        )
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum_shape(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass_shape(kind)
    raise TypeError(f"no JSON form for {kind}")


def _load_digest(text: str) -> Digest:
    return Digest.parse(text, SIZES)


def _check_finite(value: float) -> float:
    if not float("-inf") < value < float("inf"):
        raise InputError(f"cannot be written as JSON: {value}")
    return value


def _tuple_shape(arguments: tuple[Any, ...]) -> _Shape:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        inner = _shape(arguments[0])
        dump, load = inner.dump, inner.load
        return _Shape(
            wire=tuple[inner.wire, ...],  # type: ignore[name-defined]
            dump=lambda values: tuple([dump(value) for value in values]),
            load=lambda values: tuple([load(value) for value in values]),
        )
    parts = [_shape(argument) for argument in arguments]
    return _Shape(
        wire=tuple[tuple(part.wire for part in parts)],  # type: ignore[misc]
        dump=lambda values: tuple(part.dump(value) for part, value in zip(parts, values, strict=True)),
        load=lambda values: tuple(part.load(value) for part, value in zip(parts, values, strict=True)),
    )


def _enum_shape(kind: type[Enum]) -> _Shape:
    names = {member: _title(member) if issubclass(kind, IntEnum) else str(member.value) for member in kind}
    members = {name: member for member, name in names.items()}
    return _Shape(wire=typing.Literal[tuple(members)], dump=names.__getitem__, load=members.__getitem__)


def _title(member: Enum) -> str:
    """`ROLL_BACK` → `RollBack`."""
    return "".join(part.title() for part in member.name.split("_"))


def _dataclass_shape(kind: type) -> _Shape:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    shapes = [_shape(hints[name]) for name in names]
    wire_fields: list[Any] = []
    for field, shape in zip(fields(kind), shapes, strict=True):
        if field.default is not MISSING:
            wire_fields.append((field.name, shape.wire, msgspec.field(default_factory=_dump_default(shape, field.default))))
        elif field.default_factory is not MISSING:
            wire_fields.append((field.name, shape.wire, msgspec.field(default_factory=_dump_default(shape, field.default_factory()))))
        else:
            wire_fields.append((field.name, shape.wire))
    struct = msgspec.defstruct(f"{kind.__name__}Wire", wire_fields, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False)
    read = attrgetter(*names) if len(names) > 1 else lambda value, name=names[0]: (getattr(value, name),)
    dumps, loads = [shape.dump for shape in shapes], [shape.load for shape in shapes]

    def dump(value: Any) -> Any:
        return struct(**{name: convert(part) for name, convert, part in zip(names, dumps, read(value), strict=True)})

    def load(value: Any) -> Any:
        return kind(**{name: convert(part) for name, convert, part in zip(names, loads, read(value), strict=True)})

    return _Shape(wire=struct, dump=dump, load=load)


def _dump_default(shape: _Shape, default: Any) -> Callable[[], Any]:
    return lambda: shape.dump(default)
