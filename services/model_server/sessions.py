"""Who is calling: a signed text once, an opaque token after that. No I/O, no clock of its own.

How a caller signs, with eth_account (any wallet's personal_sign does the same):

    challenge = sessions.CreateChallenge(CreateChallengeRequest(address=bytes.fromhex(account.address[2:])))
    signed = account.sign_message(eth_account.messages.encode_defunct(text=challenge.message))
    opened = sessions.OpenSession(OpenSessionRequest(message=challenge.message, signature=bytes(signed.signature)))
    metadata = (("authorization", f"Bearer {opened.token}"),)        # with every ModelInfer

The text is EIP-4361 (Sign-In with Ethereum) with exactly the fields below, so wallets show who asks and for what. It names the
server's domain, the chain and a nonce: a signature made for one server opens nothing at another, and nothing twice. The bearer
token crosses the wire with every call: use it over loopback or TLS only.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from coincurve import PublicKey
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from linklearner.domain.errors import Exhausted, InvalidInput, Unauthenticated

_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_TEXT = re.compile(
    r"(?P<domain>\S{1,255}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9A-Fa-f]{40})\n"
    r"\n"
    r"(?P<statement>[^\n]{1,500})\n"
    r"\n"
    r"URI: (?P<uri>\S{1,500})\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,19})\n"
    r"Nonce: (?P<nonce>[0-9a-f]{32})\n"
    r"Issued At: (?P<issued>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n"
    r"Expiration Time: (?P<expires>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)",
    re.ASCII,
)
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
MAX_TEXT = 2000
"""Characters; longer texts are not even looked at."""


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
        """The inverse of `text`. Raises Unauthenticated for every string that `text` does not give, to the last character."""
        match = _TEXT.fullmatch(text) if len(text) <= MAX_TEXT else None
        if match is None:
            raise _altered()
        try:
            issued, expires = (
                int(datetime.strptime(match[name], _STAMP).replace(tzinfo=UTC).timestamp())
                for name in ("issued", "expires")
            )
        except ValueError:
            raise _altered() from None
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
            raise _altered()
        return parsed


def _altered() -> Unauthenticated:
    return Unauthenticated(
        "this is not a text that this server issued: sign the message of CreateChallenge exactly as it came",
        reason="AlteredChallenge",
    )


def recover(text: str, signature: bytes) -> bytes:
    """The address (20 bytes) whose key signed `text` by EIP-191 (personal_sign).

    signature: r, s, v; 65 bytes, v 27 or 28 (0 and 1 from hardware wallets), s in the lower half of the order as EIP-2 demands.
    Raises Unauthenticated for anything else.
    """
    malformed = Unauthenticated(
        "a signature has 65 bytes: r, s (in the lower half) and v = 27 or 28", reason="MalformedSignature"
    )
    if len(signature) != 65:
        raise malformed
    v = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if v not in (0, 1) or int.from_bytes(signature[32:64]) > _ORDER // 2:
        raise malformed
    message = text.encode()
    digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes((v,)), digest, hasher=None)
    except ValueError:  # coincurve: r or s out of range, or no such point
        raise malformed from None
    return bytes(keccak(key.format(compressed=False)[1:])[-20:])


def network_of(peer: str) -> str:
    """Who asks, as far as bounds are concerned: an IPv4 address or an IPv6 /64 out of gRPC's peer text; other texts as they are."""
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0].strip("[]").replace("%5B", "").replace("%5D", "")
    if kind == "ipv6":
        try:
            return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
        except ValueError:
            return peer
    return host if kind == "ipv4" else peer


@dataclass(slots=True)
class _Open:
    sign_in: SignIn
    network: str
    until: float


class Challenges:
    """Texts that wait for a signature. Bounded in number, for one network and in all; each is taken once.

    lifetime_s: 120 to 300. Times are seconds of one monotonic clock, given with every call.
    """

    def __init__(self, lifetime_s: float, most: int, most_per_network: int) -> None:
        self._lifetime_s = lifetime_s
        self._most = most
        self._most_per_network = most_per_network
        self._open: dict[str, _Open] = {}  # in the order of issue, which is the order of expiry
        self._networks: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def issue(
        self,
        address: bytes,
        *,
        network: str,
        domain: str,
        uri: str,
        chain_id: int,
        statement: str,
        wall_s: float,
        now: float,
    ) -> SignIn:
        """A fresh text for this address. Raises InvalidInput for a wrong address, Exhausted if too many are open."""
        if len(address) != 20:
            raise InvalidInput(f"an address has 20 bytes, not {len(address)}", reason="BadAddress")
        self.forget_expired(now)
        if len(self._open) >= self._most or self._networks[network] >= self._most_per_network:
            oldest = next(iter(self._open.values()))
            raise Exhausted(
                "too many challenges wait for a signature: answer one of yours, or try again in a moment",
                reason="TooManyChallenges",
                facts={"retry_after_s": round(max(oldest.until - now, 0) + 0.5)},
            )
        issued = int(wall_s)
        sign_in = SignIn(
            domain=domain,
            address=address,
            statement=statement,
            uri=uri,
            chain_id=chain_id,
            nonce=secrets.token_hex(16),
            issued_s=issued,
            expires_s=issued + int(self._lifetime_s),
        )
        self._open[sign_in.nonce] = _Open(sign_in, network, now + self._lifetime_s)
        self._networks[network] += 1
        return sign_in

    def take(self, text: str, now: float) -> SignIn:
        """The challenge that `text` is, which counts as used from here on, whatever comes of it.

        Raises Unauthenticated if the text was never issued, was altered, has been used or is too old.
        """
        given = SignIn.parse(text)
        self.forget_expired(now)
        waiting = self._remove(given.nonce)
        if waiting is None:
            raise Unauthenticated(
                "this challenge is unknown, used or expired: ask for a new one with CreateChallenge and sign that",
                reason="UnknownChallenge",
            )
        if waiting.sign_in != given:
            raise _altered()
        return given

    def forget_expired(self, now: float) -> None:
        """Frees what nobody can use any more."""
        while self._open:
            nonce, waiting = next(iter(self._open.items()))
            if waiting.until > now:
                break
            self._remove(nonce)

    def _remove(self, nonce: str) -> _Open | None:
        waiting = self._open.pop(nonce, None)
        if waiting is not None:
            self._networks[waiting.network] -= 1
            if not self._networks[waiting.network]:
                del self._networks[waiting.network]
        return waiting


@dataclass(slots=True, eq=False)
class Holding:
    """What an address had locked in the task when somebody last looked. Shared by the sessions of the address."""

    address: bytes
    units: int = 0
    block: int = 0
    confirmed: float = float("-inf")
    """When the look began that last found (or reconfirmed) `units`, on the monotonic clock."""
    used: float = float("-inf")
    """When a call last came in under it."""
    sessions: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """One bearer token's rights."""

    holding: Holding
    until: float
    key: bytes = field(repr=False)
    """SHA-256 of the token; the token itself is kept nowhere."""


class Sessions:
    """Open sessions by the SHA-256 of their tokens. Bounded in number, for one address and in all.

    Times are seconds of one monotonic clock, given with every call.
    """

    def __init__(self, lifetime_s: float, most: int, most_per_address: int) -> None:
        self._lifetime_s = lifetime_s
        self._most = most
        self._most_per_address = most_per_address
        self._open: dict[bytes, Session] = {}  # in the order of opening, which is the order of expiry
        self._holdings: dict[bytes, Holding] = {}

    def __len__(self) -> int:
        return len(self._open)

    def holdings(self) -> list[Holding]:
        """Of all addresses that have a session."""
        return list(self._holdings.values())

    def holding(self, address: bytes) -> Holding:
        """The one that sessions of this address share; a new one belongs to nobody until `open`."""
        return self._holdings.get(address) or Holding(address)

    def check_room(self, address: bytes, now: float) -> None:
        """Raises Exhausted if `open` would."""
        self.forget_expired(now)
        holding = self._holdings.get(address)
        if holding is not None and holding.sessions >= self._most_per_address:
            raise Exhausted(
                f"this address has {holding.sessions} open sessions, the most there may be: close one or let one expire",
                reason="TooManySessions",
                facts={"sessions": holding.sessions},
            )
        if len(self._open) >= self._most:
            oldest = next(iter(self._open.values()))
            raise Exhausted(
                "this server has as many open sessions as it allows: try again later",
                reason="ServerFull",
                facts={"retry_after_s": round(max(oldest.until - now, 0) + 0.5)},
            )

    def open(self, holding: Holding, now: float) -> str:
        """A fresh 256-bit token. Raises Exhausted if there is no room."""
        self.check_room(holding.address, now)
        holding = self._holdings.setdefault(holding.address, holding)
        token = secrets.token_urlsafe(32)
        key = sha256(token.encode()).digest()
        self._open[key] = Session(holding, now + self._lifetime_s, key)
        holding.sessions += 1
        return token

    def find(self, token: str | bytes, now: float) -> Session | None:
        """The session of a token, if it is open."""
        session = self._open.get(sha256(token.encode() if isinstance(token, str) else token).digest())
        if session is None or session.until <= now:
            return None
        return session

    def close(self, token: str) -> None:
        """Ends a session; a token that has none is nobody's business."""
        session = self._open.get(sha256(token.encode()).digest())
        if session is not None:
            self._remove(session)

    def forget_expired(self, now: float) -> None:
        """Frees what nobody can use any more."""
        while self._open:
            session = next(iter(self._open.values()))
            if session.until > now:
                break
            self._remove(session)

    def _remove(self, session: Session) -> None:
        del self._open[session.key]
        session.holding.sessions -= 1
        if not session.holding.sessions:
            del self._holdings[session.holding.address]
