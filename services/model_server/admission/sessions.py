"""Who is calling: a signed text once, an opaque token after that. No I/O, no clock of its own.

How a caller signs, with eth_account (any wallet's personal_sign does the same):

    nonce = secrets.token_bytes(16)
    challenge = sessions.CreateChallenge(CreateChallengeRequest(address=bytes.fromhex(account.address[2:]), nonce=nonce))
    sign_in.check(challenge.message, nonce=nonce, …)    # linklearner.domain.sign_in: sign nothing else
    signed = account.sign_message(eth_account.messages.encode_defunct(text=challenge.message))
    opened = sessions.OpenSession(OpenSessionRequest(message=challenge.message, signature=bytes(signed.signature)))
    metadata = (("authorization", f"Bearer {opened.token}"),)        # with every ModelInfer

(`linklearner.client.inference.InferenceClient` does all of it.) The bearer token crosses the wire with every call: use it over loopback or
TLS only.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field, replace
from hashlib import sha256

from coincurve import PublicKey
from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput, Unauthenticated
from linklearner.domain.sign_in import NONCE_BYTES, SignIn

MAX_USED = 65536
"""Challenges that opened a session within the last minutes: 15 MiB at most."""
_MAC_DIGITS = 20

_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


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


class Challenges:
    """Texts to sign. Nothing is kept of those that wait, however many were asked for: the server knows its own by their MAC.

    The server's half of a nonce is 48 bits of milliseconds on its monotonic clock, by which the text expires whatever happens to the
    wall clock, and an 80-bit MAC of everything. What has opened a session is remembered until it expires, so that it opens no second
    one; beyond `most_used` of those the oldest give way, and with them every text issued no later than they, used or not.

    lifetime_s: 120 to 300. `now` is seconds of one monotonic clock, given with every call.
    """

    def __init__(self, lifetime_s: float, *, most_used: int = MAX_USED) -> None:
        self._lifetime_ms = int(lifetime_s * 1000)
        self._most_used = most_used
        self._key = secrets.token_bytes(32)
        self._used: dict[str, int] = {}
        """Nonces by their time of issue, in the order of use."""
        self._too_old_ms = -1

    def issue(
        self,
        address: bytes,
        *,
        nonce: bytes,
        domain: str,
        uri: str,
        chain_id: int,
        statement: str,
        wall_s: float,
        now: float,
    ) -> SignIn:
        """A fresh text for this address. nonce: the caller's half, 16 bytes or none. Raises InvalidInput for another length."""
        if len(address) != 20:
            raise InvalidInput(f"an address has 20 bytes, not {len(address)}", reason="BadAddress")
        if len(nonce) not in (0, NONCE_BYTES):
            raise InvalidInput(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}", reason="BadNonce")
        blank = SignIn(
            domain=domain,
            address=address,
            statement=statement,
            uri=uri,
            chain_id=chain_id,
            nonce=(nonce or secrets.token_bytes(NONCE_BYTES)).hex() + f"{int(now * 1000):012x}",
            issued_s=int(wall_s),
            expires_s=int(wall_s) + self._lifetime_ms // 1000,
        )
        return replace(blank, nonce=blank.nonce + self._mac(blank))

    def check(self, text: str, now: float) -> SignIn:
        """The challenge that `text` is. Raises Unauthenticated if it was never issued here, was altered, has been used or is too old."""
        try:
            given = SignIn.parse(text)
        except InvalidInput:
            raise _altered() from None
        if not hmac.compare_digest(
            self._mac(replace(given, nonce=given.nonce[:-_MAC_DIGITS])), given.nonce[-_MAC_DIGITS:]
        ):
            raise _altered()
        issued_ms = _issued_ms(given.nonce)
        if issued_ms + self._lifetime_ms <= now * 1000 or issued_ms <= self._too_old_ms or given.nonce in self._used:
            raise Unauthenticated(
                "this challenge is used or expired: ask for a new one with CreateChallenge and sign that",
                reason="UnknownChallenge",
            )
        return given

    def use(self, sign_in: SignIn, now: float) -> None:
        """Remembers that this challenge opens a session. Raises Unauthenticated if another call was faster."""
        if sign_in.nonce in self._used:
            raise Unauthenticated("this challenge has just been used: ask for a new one", reason="UnknownChallenge")
        if len(self._used) >= self._most_used:
            self.forget_expired(now)
        if len(self._used) >= self._most_used:
            self._too_old_ms = max(self._too_old_ms, self._used.pop(next(iter(self._used))))
        self._used[sign_in.nonce] = _issued_ms(sign_in.nonce)

    def forget_expired(self, now: float) -> None:
        """Frees what nobody can use any more."""
        until = now * 1000 - self._lifetime_ms
        for nonce in [nonce for nonce, issued_ms in self._used.items() if issued_ms <= until]:
            del self._used[nonce]

    def _mac(self, sign_in: SignIn) -> str:
        return hmac.digest(self._key, sign_in.text().encode(), "sha256").hex()[:_MAC_DIGITS]


def _issued_ms(nonce: str) -> int:
    return int(nonce[2 * NONCE_BYTES : -_MAC_DIGITS], 16)


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
    sessions: list[Session] = field(default_factory=list, repr=False)


@dataclass(slots=True, eq=False)
class Session:
    """One bearer token's rights."""

    holding: Holding
    until: float
    key: bytes = field(repr=False)
    """SHA-256 of the token; the token itself is kept nowhere."""
    used: float
    """When a call last came in under it."""
    calls: int = 0
    """Open just now."""


class Sessions:
    """Open sessions by the SHA-256 of their tokens. Bounded in number, for one address and in all; a newcomer is let in all the same.

    At the bound of an address, the one of its sessions that has been idle longest ends. At the server's, that of the address which has
    the most: whoever opens many pushes out their own. Times are seconds of one monotonic clock, given with every call.
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

    def open(self, holding: Holding, now: float) -> str:
        """A fresh 256-bit token."""
        self.forget_expired(now)
        holding = self._holdings.get(holding.address, holding)
        if len(holding.sessions) >= self._most_per_address:
            self._end_idlest(holding)
        elif len(self._open) >= self._most:
            self._end_idlest(max(self._holdings.values(), key=lambda other: len(other.sessions)))
        self._holdings[holding.address] = holding
        token = secrets.token_urlsafe(32)
        session = Session(holding, now + self._lifetime_s, sha256(token.encode()).digest(), used=now)
        self._open[session.key] = session
        holding.sessions.append(session)
        return token

    def _end_idlest(self, holding: Holding) -> None:
        self._remove(min(holding.sessions, key=lambda session: session.used))

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
        session.holding.sessions.remove(session)
        if not session.holding.sessions:
            del self._holdings[session.holding.address]
