"""The text by which a caller proves an address to one model server: EIP-4361 (Sign-In with Ethereum) with exactly the fields below.

It names the server's host and port (for a visitor of a web page those of the page, with which wallets compare them), the chain, what for,
and a nonce, and lives for minutes: a signature made for one server opens nothing at another, and nothing twice. The server writes it
(`SignIn.text`). Whoever holds the key signs only after `check`, because the text comes from whoever answered the call: a hostile server
would hand on another server's text, an old one, or any text at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from eth_utils.address import to_checksum_address

from linklearner.domain.errors import InvalidInput, UntrustedChallenge
from linklearner.domain.notation import shown

_TEXT = re.compile(
    r"(?P<domain>\S{1,255}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9A-Fa-f]{40})\n"
    r"\n"
    r"(?P<statement>[^\n]{1,500})\n"
    r"\n"
    r"URI: (?P<uri>\S{1,500})\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,19})\n"
    r"Nonce: (?P<nonce>[0-9a-f]{64})\n"
    r"Issued At: (?P<issued>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n"
    r"Expiration Time: (?P<expires>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)",
    re.ASCII,
)
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
MAX_TEXT = 2000
"""Characters; longer texts are not even looked at."""
NONCE_BYTES = 16
"""The caller's half of the nonce; the other half is the server's."""
MAX_LIFE_S = 300
"""A caller signs no text that lives longer."""
MAX_CLOCK_DIFFERENCE_S = 120
"""Between the caller's clock and the server's."""
_URI = "/inference.GRPCInferenceService"
_STATEMENT = re.compile(
    r"Ask the model of LinkLearner task [1-9][0-9]{0,19}\. This signature costs nothing and moves nothing\.", re.ASCII
)


_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?P<port>:[1-9][0-9]{0,4})?",
    re.ASCII,
)


def uri_of(domain: str) -> str:
    """What a session at the server `domain` (host:port) is for."""
    return f"grpc://{domain}{_URI}"


def page_domain(origin: str) -> str:
    """host[:port] of a web page's origin, which a text for its visitors names (EIP-4361 has no place for the scheme but the URI).

    Raises InvalidInput for what no browser writes as an origin: a path, a default port, capitals, another scheme than http and https.
    """
    match = _ORIGIN.fullmatch(origin)
    if match is None or match["port"] == {"http": ":80", "https": ":443"}[match["scheme"]]:
        raise InvalidInput(
            f"{shown(origin)} is not an origin: write it as browsers do, http://localhost:8780 or https://learn.example",
            reason="BadOrigin",
        )
    return match["host"] + (match["port"] or "")


def page_uri(origin: str) -> str:
    """What a session opened from the page of `origin` is for."""
    return f"{origin}{_URI}"


def statement_of(task: int) -> str:
    """What wallets show their owners."""
    return f"Ask the model of LinkLearner task {task}. This signature costs nothing and moves nothing."


@dataclass(frozen=True, kw_only=True, slots=True)
class SignIn:
    """The fields of the text that a caller signs."""

    domain: str
    address: bytes
    """20 bytes."""
    statement: str
    uri: str
    chain_id: int
    nonce: str
    """64 hex digits: 16 bytes of the caller's, 16 of the server's."""
    issued_s: int
    """Unix seconds."""
    expires_s: int
    """Unix seconds."""

    def text(self) -> str:
        return (
            f"{self.domain} wants you to sign in with your Ethereum account:\n"
            f"{to_checksum_address(self.address)}\n"
            "\n"
            f"{self.statement}\n"
            "\n"
            f"URI: {self.uri}\n"
            "Version: 1\n"
            f"Chain ID: {self.chain_id}\n"
            f"Nonce: {self.nonce}\n"
            f"Issued At: {datetime.fromtimestamp(self.issued_s, UTC).strftime(_STAMP)}\n"
            f"Expiration Time: {datetime.fromtimestamp(self.expires_s, UTC).strftime(_STAMP)}"
        )

    @classmethod
    def parse(cls, text: str) -> SignIn:
        """The inverse of `text`. Raises InvalidInput for every string that `text` does not give, to the last character."""
        match = _TEXT.fullmatch(text) if len(text) <= MAX_TEXT else None
        if match is None:
            raise _other_format()
        try:
            issued, expires = (
                int(datetime.strptime(match[name], _STAMP).replace(tzinfo=UTC).timestamp())
                for name in ("issued", "expires")
            )
        except ValueError:
            raise _other_format() from None
        parsed = cls(
            domain=match["domain"],
            address=bytes.fromhex(match["address"][2:]),
            statement=match["statement"],
            uri=match["uri"],
            chain_id=int(match["chain_id"]),
            nonce=match["nonce"],
            issued_s=issued,
            expires_s=expires,
        )
        if parsed.text() != text:  # the address in another case, say
            raise _other_format()
        return parsed


def _other_format() -> InvalidInput:
    return InvalidInput("this is not a sign-in text of a LinkLearner model server", reason="OtherFormat")


def check(
    text: str, *, domain: str, address: bytes, nonce: bytes, wall_s: float, chain_id: int | None, task: int | None
) -> SignIn:
    """What a caller demands of a text before signing it. Raises UntrustedChallenge, with what is wrong, for any other text.

    domain: host:port as dialled. nonce: the 16 random bytes that the caller has just sent. wall_s: the caller's clock, Unix seconds.
    chain_id, task: those the caller means; None accepts whichever the server names, since the domain binds the signature to it anyhow.
    """

    def refuse(what: str) -> UntrustedChallenge:
        return UntrustedChallenge(
            f"{domain} asks for a signature that this program does not give: {what}. Nothing was signed",
            facts={"domain": domain},
        )

    try:
        given = SignIn.parse(text)
    except InvalidInput:
        raise refuse("its text is not the sign-in of a model server (EIP-4361)") from None
    if given.domain != domain or given.uri != uri_of(domain):
        raise refuse(
            f"its text is for '{given.domain:.100}' ({given.uri:.100}), which may be another server. If {given.domain:.100} is "
            "this server's name for itself (its setting `domain`), use that address"
        )
    if given.address != address:
        raise refuse(f"its text is for the account 0x{given.address.hex()}, not for 0x{address.hex()}")
    if not given.nonce.startswith(nonce.hex()):
        raise refuse("its text does not carry the number that was sent along, so it may be an old one")
    if chain_id is not None and given.chain_id != chain_id:
        raise refuse(f"its text is for chain {given.chain_id}, not for chain {chain_id}")
    if given.statement != statement_of(task) if task is not None else not _STATEMENT.fullmatch(given.statement):
        raise refuse(f"its text states {given.statement!r:.200}")
    if not 0 < given.expires_s - given.issued_s <= MAX_LIFE_S:
        raise refuse(f"its text lives for {given.expires_s - given.issued_s} s; 1 to {MAX_LIFE_S} s are signed")
    if abs(given.issued_s - wall_s) > MAX_CLOCK_DIFFERENCE_S:
        raise refuse(
            f"its text was issued {abs(given.issued_s - wall_s):.0f} s {'after' if given.issued_s > wall_s else 'before'} this "
            "moment: one of the two clocks is wrong"
        )
    return given
