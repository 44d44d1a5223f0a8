"""Queries: conditions on entries, and the fields that they are made of.

Owns the words of a query: ``Q.size > 1_000_000``, ``Q.name.like("*.log")``, combined by ``&``,
``|`` and ``~``.  May assume a `Row` that tells what it is asked for.  Promises: a mistake in a
condition is found where it is written; what is cheap to tell is asked first, a path last.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar
from uuid import UUID

from .entry import DIRECTORY, FILE, LINK
from .errors import UsageError
from .pattern import Pattern, name_pattern

T = TypeVar("T")
Test = Callable[["Row"], object]

KINDS: Final = {FILE: "file", DIRECTORY: "directory", LINK: "link"}
_CODES: Final = {kind: code for code, kind in KINDS.items()}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What a field costs: at hand; in the record; decoded; found by climbing to the root.
_AT_HAND, _NEAR, _DECODED, _CLIMBED, _PATH = range(5)


class Row(Protocol):
    """What a condition asks an entry; attributes have the names of the fields."""

    @property
    def type(self) -> bytes: ...

    @property
    def name(self) -> bytes: ...

    @property
    def path(self) -> str: ...

    @property
    def user(self) -> int: ...

    @property
    def user_name(self) -> str: ...

    @property
    def group(self) -> int: ...

    @property
    def group_name(self) -> str: ...

    @property
    def deleted(self) -> int: ...


class Condition:
    """What entries must fulfil to be found; made by the fields of `Q`.

    ``a & b``, ``a | b`` and ``~a`` combine conditions.  `and`, `or`, `not` and ``1 < Q.size < 9``
    cannot: they raise TypeError.

    Attributes:
        fields: names of the fields that it asks for.
        cost: of asking, beside that of other conditions.
    """

    __slots__ = ("cost", "fields")

    def __init__(self, fields: Iterable[str], cost: int) -> None:
        self.fields = frozenset(fields)
        self.cost = cost

    def compiled(self) -> Test:
        """What tells whether a row fulfils it."""
        raise NotImplementedError

    def __and__(self, other: Condition) -> Condition:
        return _Joined("&", self, other)

    def __or__(self, other: Condition) -> Condition:
        return _Joined("|", self, other)

    def __invert__(self) -> Condition:
        return _Negated(self)

    def __bool__(self) -> NoReturn:
        raise TypeError("conditions are combined with & | ~, not with and, or, not")


class _Asked(Condition):
    """A condition on one field."""

    __slots__ = ("_test", "_text")

    def __init__(self, test: Test, text: str, field: str, cost: int) -> None:
        super().__init__([field], cost)
        self._test = test
        self._text = text

    def compiled(self) -> Test:
        return self._test

    def __repr__(self) -> str:
        return self._text


class _Negated(Condition):
    """What does not fulfil a condition."""

    __slots__ = ("_condition",)

    def __init__(self, condition: Condition) -> None:
        super().__init__(condition.fields, condition.cost)
        self._condition = condition

    def compiled(self) -> Test:
        test = self._condition.compiled()
        return lambda row: not test(row)

    def __repr__(self) -> str:
        return f"~{self._condition!r}"


class _Joined(Condition):
    """Both, or either; conditions joined by the same sign are one, with many parts."""

    __slots__ = ("_parts", "_sign")

    def __init__(self, sign: str, left: Condition, right: Condition) -> None:
        if not isinstance(right, Condition):
            raise TypeError(f"{sign} combines conditions, not {type(right).__name__}")
        super().__init__(left.fields | right.fields, max(left.cost, right.cost))
        self._sign = sign
        self._parts = (*self._flat(left), *self._flat(right))

    def _flat(self, condition: Condition) -> tuple[Condition, ...]:
        if isinstance(condition, _Joined) and condition._sign == self._sign:
            return condition._parts
        return (condition,)

    def compiled(self) -> Test:
        """The parts are asked in the order of their cost, until one decides."""
        parts = sorted(self._parts, key=lambda part: part.cost)
        tests = [part.compiled() for part in parts]
        is_all = self._sign == "&"

        def test(row: Row) -> bool:
            for each in tests:
                if bool(each(row)) is not is_all:
                    return not is_all
            return is_all

        return test

    def __repr__(self) -> str:
        return f"({f' {self._sign} '.join(map(repr, self._parts))})"


def all_of(conditions: Iterable[Condition]) -> Condition | None:
    """One condition for several; None for none.  Raises: TypeError for anything else."""
    joined: Condition | None = None
    for condition in conditions:
        if not isinstance(condition, Condition):
            raise TypeError(f"a query is made of conditions on Q, not {type(condition).__name__}")
        joined = condition if joined is None else joined & condition
    return joined


# --- fields


class Field(Generic[T]):
    """A field that has a value; ``==``, ``!=`` and `one_of` compare it."""

    __slots__ = ("_cost", "_name", "_read")

    def __init__(self, name: str, cost: int = _AT_HAND) -> None:
        self._name = name
        self._cost = cost
        self._read: Callable[[Row], Any] = operator.attrgetter(name)

    def __repr__(self) -> str:
        return f"Q.{self._name}"

    def _operand(self, value: T) -> Any:
        """What a row's value is compared with.  Raises: TypeError, UsageError."""
        raise NotImplementedError

    def _condition(self, test: Test, text: str, cost: int | None = None) -> Condition:
        cost = self._cost if cost is None else cost
        text = f"{self!r}{text}" if text.startswith(".") else f"({self!r}{text})"
        return _Asked(test, text, self._name, cost)

    def _compare(self, sign: str, compare: Callable[[Any, Any], object], value: T) -> Condition:
        read, operand = self._read, self._operand(value)
        return self._condition(lambda row: compare(read(row), operand), f" {sign} {value!r}")

    def __eq__(self, value: T) -> Condition:  # type: ignore[override]
        return self._compare("==", operator.eq, value)

    def __ne__(self, value: T) -> Condition:  # type: ignore[override]
        return self._compare("!=", operator.ne, value)

    def one_of(self, *values: T) -> Condition:
        """Whether it is one of these."""
        read, operands = self._read, frozenset(map(self._operand, values))
        return self._condition(lambda row: read(row) in operands, f".one_of{values!r}")


class Ordered(Field[T]):
    """A field whose values have an order, too."""

    __slots__ = ()

    def __lt__(self, value: T) -> Condition:
        return self._compare("<", operator.lt, value)

    def __le__(self, value: T) -> Condition:
        return self._compare("<=", operator.le, value)

    def __gt__(self, value: T) -> Condition:
        return self._compare(">", operator.gt, value)

    def __ge__(self, value: T) -> Condition:
        return self._compare(">=", operator.ge, value)

    def between(self, low: T, high: T) -> Condition:
        """Whether low <= it <= high."""
        read, first, last = self._read, self._operand(low), self._operand(high)
        return self._condition(
            lambda row: first <= read(row) <= last, f".between({low!r}, {high!r})"
        )


class Number(Ordered[float]):
    """A number."""

    __slots__ = ()

    def _operand(self, value: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{self!r} is compared with numbers, not {type(value).__name__}")
        return value


class Mode(Number):
    """Permission bits."""

    __slots__ = ()

    def has(self, bits: int) -> Condition:
        """Whether all of these bits are set."""
        read, wanted = self._read, operator.index(bits)
        return self._condition(lambda row: read(row) & wanted == wanted, f".has({bits:#o})")


class Time(Ordered[int | datetime]):
    """A time: a datetime, without a zone in local time, or nanoseconds since 1970."""

    __slots__ = ()

    def _operand(self, value: int | datetime) -> int:
        if isinstance(value, datetime):
            try:
                return (value.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
            except (OverflowError, ValueError, OSError):  # the zone leads out of all years
                raise UsageError(f"the time {value} is out of range") from None
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(
                f"{self!r} is compared with a datetime, or int nanoseconds since 1970, "
                f"not {type(value).__name__}"
            )
        return value


class Identity(Ordered[UUID]):
    """An identity; those of entries are in the order in which the entries were made."""

    __slots__ = ()

    def _operand(self, value: UUID) -> bytes:
        if not isinstance(value, UUID):
            raise TypeError(f"{self!r} is compared with a UUID, not {type(value).__name__}")
        return value.bytes


class Kind(Field[str]):
    """What an entry is: file, directory or link."""

    __slots__ = ()

    def _operand(self, value: object) -> bytes:
        if not isinstance(value, str) or value not in _CODES:
            raise UsageError(f"{self!r} is one of {', '.join(_CODES)}, not {value!r}")
        return _CODES[value]


class Text(Ordered[str]):
    """A name or a path, in the order of its UTF-8."""

    __slots__ = ()

    def _operand(self, value: str) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"{self!r} is compared with str, not {type(value).__name__}")
        return value

    def like(self, pattern: str) -> Condition:
        """Whether all of it matches a pattern; see `Archive.glob`.  Case counts.

        A name: ``*``, ``?`` and ``[...]``.  A path: from the root on, ``*`` stays within a name,
        ``**`` stands for any number of directories.
        """
        return self._condition(self._like(pattern), f".like({pattern!r})")

    def _like(self, pattern: str) -> Test:
        raise NotImplementedError

    def matches(self, regex: str | re.Pattern[str]) -> Condition:
        """Whether all of it matches a regular expression, as `re.fullmatch`."""
        try:
            match = re.compile(regex).fullmatch
        except re.error as error:
            raise UsageError(f"not a regular expression: {regex!r}: {error}") from None
        if not isinstance(match.__self__.pattern, str):  # type: ignore[attr-defined]
            raise TypeError("a regular expression is one of str, not of bytes")
        return self._condition(self._matching(match), f".matches({regex!r})")

    def _matching(self, match: Callable[[str], object]) -> Test:
        raise NotImplementedError


class Name(Text):
    """The last part of a path."""

    __slots__ = ()

    def _operand(self, value: str) -> bytes:
        text: str = super()._operand(value)
        return text.encode("utf-8", "surrogatepass")  # what no name has matches none

    def _like(self, pattern: str) -> Test:
        return self._matching(name_pattern(pattern).match)

    def _matching(self, match: Callable[[str], object]) -> Test:
        # A damaged name is told by what builds the path; here it only must not match by accident.
        return lambda row: match(row.name.decode(errors="surrogateescape"))


class Path(Text):
    """The path from the root, with a slash in front."""

    __slots__ = ()

    def _like(self, pattern: str) -> Test:
        compiled = Pattern(pattern)
        return lambda row: compiled.matches(row.path, row.type)

    def _matching(self, match: Callable[[str], object]) -> Test:
        return lambda row: match(row.path)


class Principal(Field[int | str]):
    """A user or group: by number, or by name where a name is known."""

    __slots__ = ()

    def _operand(self, value: int | str) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise TypeError(f"{self!r} is compared with int or str, not {type(value).__name__}")
        return value

    def one_of(self, *values: int | str) -> Condition:
        """Whether it has one of these numbers or names."""
        number, operands = self._read, frozenset(map(self._operand, values))
        if not any(isinstance(value, str) for value in operands):
            return self._condition(lambda row: number(row) in operands, f".one_of{values!r}")
        name = operator.attrgetter(f"{self._name}_name")
        return self._condition(
            lambda row: number(row) in operands or name(row) in operands,
            f".one_of{values!r}",
            _DECODED,
        )

    def _compare(
        self, sign: str, compare: Callable[[Any, Any], object], value: int | str
    ) -> Condition:
        if not isinstance(self._operand(value), str):
            return super()._compare(sign, compare, value)
        name = operator.attrgetter(f"{self._name}_name")
        return self._condition(
            lambda row: compare(name(row), value), f" {sign} {value!r}", _DECODED
        )


class Flag(_Asked):
    """A field that is a condition itself."""

    __slots__ = ()

    def __init__(self, name: str, cost: int) -> None:
        super().__init__(operator.attrgetter(name), f"Q.{name}", name, cost)

    def __eq__(self, value: bool) -> Condition:  # type: ignore[override]
        if not isinstance(value, bool):
            raise TypeError(f"{self!r} is True or False, not {type(value).__name__}")
        return self if value else ~self

    def __ne__(self, value: bool) -> Condition:  # type: ignore[override]
        return ~(self == value)


class Fields:
    """The fields that `Archive.find` can ask for; `Q` is the only one there is.

    Attributes:
        type: ``"file"``, ``"directory"`` or ``"link"``.
        name: the last part of the path.
        path: all of it, from ``/`` on; asked last, because finding it costs most.
        id, parent, owner: UUIDs; ids are in the order in which entries were made.
        size: bytes of a file, or of a link's target; 0 for a directory.
        created, modified: a datetime (without a zone: local time), or int nanoseconds since 1970.
        mode: permission bits, with `has`.
        user, group: by number, or by name.
        links: names that lead to it.
        deleted: whether it, or a directory above, was deleted and can be restored or is kept for
            the record.  A query that does not name this field finds nothing deleted.
    """

    __slots__ = ()

    type: Final = Kind("type")
    name: Final = Name("name", _NEAR)
    path: Final = Path("path", _PATH)
    id: Final = Identity("id")
    parent: Final = Identity("parent")
    owner: Final = Identity("owner")
    size: Final = Number("size", _NEAR)
    created: Final = Time("created")
    modified: Final = Time("modified")
    mode: Final = Mode("mode")
    user: Final = Principal("user")
    group: Final = Principal("group")
    links: Final = Number("links")
    deleted: Final = Flag("deleted", _CLIMBED)


Q: Final = Fields()
