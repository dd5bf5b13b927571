"""Settings of a process: a frozen dataclass, read from the environment by one function that every service shares.

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        PREFIX: ClassVar = "LINKLEARNER_TRAINER_"

        threads: Annotated[int, Between(1, 1024)] = 1       # and a docstring under it, which the table of settings shows

    config = Config.from_environment(os.environ)        # LINKLEARNER_TRAINER_THREADS=2

What a field may hold stands beside it as data: its type (int, float, bool, str or Path) and one rule. Whoever makes the value in code is
held to the same rules as whoever writes the environment. A variable under the prefix that no field has is refused, because it is a
setting that somebody believes to be in force.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Protocol, Self, get_args, get_origin, get_type_hints

from linklearner.domain import notation
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import shown
from linklearner.domain.sign_in import page_domain

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_ANY_WHOLE = 10**78
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class FieldRule(Protocol):
    """What a field may hold. Its text is what the table of settings says of it."""

    def check(self, value: Any, name: str) -> None:
        """Raises InvalidInput with a sentence that begins with `name`."""


@dataclass(frozen=True, slots=True)
class Between:
    """A number from low to high, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        # Between(0, 1) and Between(0.0, 1.0) are one key of typing's cache of annotations: which of them a field was written with depends
        # on what was imported before, and no message should.
        for name in ("low", "high"):
            number = getattr(self, name)
            if isinstance(number, float) and number.is_integer():
                object.__setattr__(self, name, int(number))

    def check(self, value: Any, name: str) -> None:
        if not self.low <= value <= self.high:  # NaN is not
            raise InvalidInput(f"{name} must be between {self.low} and {self.high}, got {value}")

    def __str__(self) -> str:
        return f"{_short(self.low)} to {_short(self.high)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: Any, name: str) -> None:
        if value not in self.words:
            raise InvalidInput(f"{name} must be {_either(self.words)}, got {shown(str(value))}")

    def __str__(self) -> str:
        return _either(self.words)


@dataclass(frozen=True, slots=True)
class HostPort:
    """host:port. any_port: 0 is allowed, and takes a free one. optional: so is nothing."""

    any_port: bool = False
    optional: bool = False

    def check(self, value: Any, name: str) -> None:
        if value or not self.optional:
            notation.Endpoint.parse(value, name, any_port=self.any_port)

    def __str__(self) -> str:
        return "host:port" + (", or empty" if self.optional else "")


@dataclass(frozen=True, slots=True)
class NodeUrls:
    """http:// or https:// URLs of one chain's nodes, separated by commas. optional: or none."""

    optional: bool = False

    def check(self, value: Any, name: str) -> None:
        if value or not self.optional:
            notation.node_urls(value, name)

    def __str__(self) -> str:
        return "URLs, separated by commas" + (", or empty" if self.optional else "")


@dataclass(frozen=True, slots=True)
class TaskNumbers:
    """Numbers of tasks, separated by commas, each once. high: the largest. most: so many."""

    high: int
    most: int

    def check(self, value: Any, name: str) -> None:
        self.read(value, name)

    def read(self, value: str, name: str) -> tuple[int, ...]:
        """Raises InvalidInput."""
        numbers = tuple(notation.whole(part.strip(" "), name, 1, self.high) for part in str(value).split(","))
        if len(set(numbers)) < len(numbers):
            raise InvalidInput(f"{name} must name each task once, got {shown(value)}")
        if len(numbers) > self.most:
            raise InvalidInput(f"{name} must name at most {self.most} tasks, got {len(numbers)}")
        return numbers

    def __str__(self) -> str:
        return f"1 to {_short(self.high)}, separated by commas" + (f" (at most {self.most})" if self.most > 1 else "")


@dataclass(frozen=True, slots=True)
class Origins:
    """Origins of web pages, separated by commas, or none."""

    def check(self, value: Any, name: str) -> None:
        try:
            self.read(value)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error.message}") from None

    def read(self, value: str) -> frozenset[str]:
        """Raises InvalidInput."""
        origins = [part.strip(" ") for part in value.split(",")] if value else []
        for origin in origins:
            page_domain(origin)
        return frozenset(origins)

    def __str__(self) -> str:
        return "origins, separated by commas, or empty"


@dataclass(frozen=True, slots=True)
class AddressField:
    """An address, 0x and 40 hex digits, or empty."""

    def check(self, value: Any, name: str) -> None:
        if value:
            try:
                notation.address(value)
            except InvalidInput as error:
                raise InvalidInput(f"{name}: {error.message}") from None

    def __str__(self) -> str:
        return "address, or empty"


class OneOfKinds:
    """A field whose value is itself settings, of one of several kinds. Its variable names the kind, whose own settings have the same
    prefix; those of the other kinds are unknown then.

    kinds: by the name of each.
    """

    def __init__(self, kinds: Mapping[str, type[Settings]]) -> None:
        self.kinds = kinds

    def check(self, value: Any, name: str) -> None:
        """What a value of the kind may hold, it has checked itself."""

    def __str__(self) -> str:
        return _either(tuple(self.kinds))


LogLevel = Annotated[str, OneOf(("debug", "info", "warning", "error"))]


class Settings:
    """Base of a frozen dataclass of settings. Raises InvalidConfig for a value that its field may not hold."""

    PREFIX: ClassVar[str] = ""
    """Of the environment's variables: a field `task` is read from PREFIX + TASK."""

    def __post_init__(self) -> None:
        for setting in described(type(self)):
            setting.check(getattr(self, setting.name), setting.name)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises InvalidConfig for a value that a field may not hold, and for a variable of the prefix that is no field's."""
        given = {
            variable.removeprefix(cls.PREFIX).lower(): text
            for variable, text in environment.items()
            if variable.startswith(cls.PREFIX)
        }
        known: list[str] = []
        values = _values(cls, given, cls.PREFIX, known)
        if given:
            unknown = cls.PREFIX + next(iter(given)).upper()
            names = ", ".join(sorted(cls.PREFIX + name.upper() for name in known))
            raise InvalidConfig(f"{unknown} is no setting here; there are {names}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Setting:
    """One field."""

    name: str
    kind: type
    rule: FieldRule | None
    default: Any

    def check(self, value: Any, name: str) -> None:
        """name: how to call it in a refusal. Raises InvalidConfig."""
        if self.rule is not None:
            try:
                self.rule.check(value, name)
            except InvalidInput as error:
                raise InvalidConfig(error.message, facts={"setting": self.name}) from None

    def parse(self, text: str, variable: str) -> Any:
        """The value that a variable's text is. Raises InvalidConfig."""
        value = self._converted(text, variable)
        self.check(value, variable)
        return value

    def _converted(self, text: str, variable: str) -> Any:
        if self.kind is bool:
            if text.lower() not in _BOOLEANS:
                raise InvalidConfig(
                    f"{variable} must be true or false, got {shown(text)}", facts={"setting": self.name}
                )
            return _BOOLEANS[text.lower()]
        if self.kind in (int, float):
            bounds = f" between {self.rule.low} and {self.rule.high}" if isinstance(self.rule, Between) else ""
            if self.kind is float and _NUMBER.fullmatch(text):
                return float(text)
            try:
                if self.kind is int:
                    return notation.whole(text, variable, -_ANY_WHOLE, _ANY_WHOLE)
            except InvalidInput:
                pass
            whole = "whole " if self.kind is int else ""
            raise InvalidConfig(
                f"{variable} must be a {whole}number{bounds}, got {shown(text)}", facts={"setting": self.name}
            )
        return self.kind(text)


def described(cls: type[Settings]) -> tuple[Setting, ...]:
    """The fields of a dataclass of settings, in the order in which they are written."""
    hints = get_type_hints(cls, include_extras=True)
    settings = []
    for field in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
        kind, rule = hints[field.name], None
        if get_origin(kind) is Annotated:
            kind, rule = get_args(kind)[:2]
        settings.append(Setting(field.name, kind, rule, field.default))
    return tuple(settings)


def _values(cls: type[Settings], given: dict[str, str], prefix: str, known: list[str]) -> dict[str, Any]:
    """Takes out of `given` what the fields of `cls` are given, and adds their names to `known`."""
    values: dict[str, Any] = {}
    for setting in described(cls):
        known.append(setting.name)
        text, variable = given.pop(setting.name, None), prefix + setting.name.upper()
        if isinstance(setting.rule, OneOfKinds):
            if text is not None and text not in setting.rule.kinds:
                raise InvalidConfig(
                    f"{variable} must be {setting.rule}, got {shown(text)}", facts={"setting": setting.name}
                )
            kind = type(setting.default) if text is None else setting.rule.kinds[text]
            values[setting.name] = kind(**_values(kind, given, prefix, known))
        elif text is not None:
            values[setting.name] = setting.parse(text, variable)
    return values


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _short(number: float) -> str:
    """As people write it: 2^64 - 1 rather than twenty digits."""
    if isinstance(number, int) and number >= 2**16:
        power = number.bit_length()
        if number == 2**power - 1:
            return f"2^{power} - 1"
        if number == 2 ** (power - 1):
            return f"2^{power - 1}"
    return f"{number:,}"
