"""Numbers, amounts, addresses and endpoints as people type them: one notation each, and nothing is guessed.

`1,5` is one and a half in half of the world and fifteen to a parser that drops commas; a wrong digit in an address makes it another's.
So every text either is exactly the notation, in ASCII, or raises InvalidInput with a sentence that shows the right one. What the
formatting functions write, the parsing ones read back to the same value.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.stakes import MAX_ELIGIBLE

DECIMALS: Final = 18
LL_WEI: Final = 10**DECIMALS
"""Wei of one $LL."""
UNIT_WEI: Final = 10**15
"""Wei of $LL in one unit of stake."""
MAX_WEI: Final = 2**256 - 1
UINT32: Final = 2**32 - 1
UINT64: Final = 2**64 - 1

_AMOUNT: Final = re.compile(rf"[0-9]{{1,78}}(?:\.[0-9]{{1,{DECIMALS}}})?", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,78}", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})", re.ASCII)
_SHOWN: Final = 60


def shown(text: str) -> str:
    """A text in quotes, for a sentence: control characters escaped, at most 60 characters."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def amount(text: str) -> int:
    """$LL in wei. Digits, and a point with one to 18 more if need be: no sign, no separators, no exponent. Raises InvalidInput."""
    if not _AMOUNT.fullmatch(text):
        raise InvalidInput(
            f"{shown(text)} is not an amount of $LL: write 12 or 12.345, digits with one point and no commas (at most {DECIMALS} decimals)"
        )
    whole, _, rest = text.partition(".")
    wei = int(whole) * LL_WEI + int(rest.ljust(DECIMALS, "0"))
    if wei > MAX_WEI:
        raise OutOfRange(f"{shown(text)} $LL is more than a token can count (2^256 - 1 wei)")
    return wei


def amount_text(wei: int) -> str:
    """Wei as `amount` reads it: exact, without trailing zeros. wei: 0 to 2^256 - 1."""
    whole, rest = divmod(wei, LL_WEI)
    return f"{whole}" + (f".{rest:0{DECIMALS}d}".rstrip("0") if rest else "")


def stake_units(text: str) -> int:
    """$LL as typed, in units of stake (0.001 $LL). Never rounds: raises InvalidInput for what is no whole number of units, for zero and
    for more than a task can hold."""
    wei = amount(text)
    if wei % UNIT_WEI:
        raise InvalidInput(
            f"{shown(text)} $LL is no multiple of 0.001, the unit of stake: write at most three decimals"
        )
    most = MAX_ELIGIBLE * UNIT_WEI
    if not UNIT_WEI <= wei <= most:
        raise OutOfRange(f"stake must be between 0.001 and {amount_text(most)} $LL, got {shown(text)}")
    return wei // UNIT_WEI


def whole(text: str, name: str, low: int = 0, high: int = UINT64) -> int:
    """A whole number in ASCII digits, from low to high. Raises InvalidInput for another notation, OutOfRange beyond the bounds."""
    if not _WHOLE.fullmatch(text):
        raise InvalidInput(f"{name} must be a whole number between {low} and {high}, got {shown(text)}")
    value = int(text)
    if not low <= value <= high:
        raise OutOfRange(f"{name} must be between {low} and {high}, got {value}")
    return value


def address(text: str) -> bytes:
    """20 bytes of `0x` and 40 hex digits. Digits in both cases carry a checksum (EIP-55), which must be right. Raises InvalidInput."""
    if not _ADDRESS.fullmatch(text):
        raise InvalidInput(f"{shown(text)} is not an address: 0x and 40 hex digits")
    digits = text[2:]
    raw = bytes.fromhex(digits)
    if digits not in (digits.lower(), digits.upper()) and text != address_text(raw):
        raise InvalidInput(
            f"{shown(text)} has a wrong checksum (EIP-55): a digit or a letter's case was changed; copy the address again"
        )
    return raw


def address_text(raw: bytes) -> str:
    """20 bytes as `0x` and 40 hex digits with the checksum of EIP-55: a letter is a capital where the hash of them all has its bit set."""
    digits = raw.hex()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(mark, 16) >= 8 else d for d, mark in zip(digits, marks, strict=False))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """host:port of a service. host: a name or an IP address, an IPv6 one without its brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, name: str = "the address", *, any_port: bool = False) -> Self:
        """any_port: 0 is allowed, and takes a free port. Raises InvalidInput that says what is wrong."""
        example = "write host:port, for example 127.0.0.1:50051"
        if "://" in text:
            raise InvalidInput(f"{name} is host:port without a scheme, got the URL {shown(text)}: {example}")
        bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(.*))?", text, re.ASCII | re.DOTALL)
        if bracketed:
            host, port = bracketed[1], bracketed[2]
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise InvalidInput(f"{name} names no IPv6 address in {shown(text)}") from None
        else:
            host, colon, rest = text.rpartition(":")
            port = rest if colon else None
            host = host if colon else text
            if host.count(":"):
                raise InvalidInput(
                    f"{name} {shown(text)} has more than one colon: an IPv6 address stands in brackets, [::1]:50051"
                )
            if not _HOST.fullmatch(host):
                raise InvalidInput(f"{name} names no host in {shown(text)}: {example}")
        if not port:
            raise InvalidInput(f"{name} {shown(text)} names no port: {example}")
        return cls(host, whole(port, f"the port of {name}", 0 if any_port else 1, 65535))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def node_urls(text: str, name: str = "the URL") -> tuple[str, ...]:
    """The URLs of one JSON-RPC node or of several that serve the same chain, separated by commas.

    Raises InvalidInput unless each is http:// or https:// with a host. What is wrong is shown without what may be a secret in it.
    """
    urls = tuple(part.strip(" ") for part in text.split(","))
    for url in urls:
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits or not text.isprintable() or " " in url:
            raise InvalidInput(
                f"{name} must be an http:// or https:// URL of a JSON-RPC node (several are separated by commas), got "
                f"{shown(shown_url(url))}"
            )
    return urls


def shown_url(url: str) -> str:
    """Scheme, host and port: user, password, path and query may be secrets."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not shown)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}" if host else url.partition("?")[0].rpartition("@")[2][:60]


def shown_urls(text: str) -> str:
    """`shown_url` of each of several, separated by commas."""
    return ", ".join(map(shown_url, text.split(",")))


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine by its notation alone: localhost, 127.0.0.0/8, ::1, or an unspecified address. No look-ups."""
    name = host.lower().rstrip(".").strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None) or number
    return bool(mapped.is_loopback or mapped.is_unspecified)


def is_loopback_url(url: str) -> bool:
    """Whether a URL's host is this very machine; False for what is no URL."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
