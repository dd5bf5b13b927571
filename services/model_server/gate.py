"""Who may ask for an inference: those who proved an address and have enough $LL locked, and nobody else.

The check is made for every call and costs about a microsecond: one hash, one dictionary, three comparisons. What it compares with is
kept fresh in the background (`stakes`), so a caller who unlocks is refused within `stake_refresh_s` and a round trip to the gateway,
and within `stake_stale_s` even if the gateway or the chain stops answering: then everybody is (UNAVAILABLE, with the reason).

`Admission` is the seam: servicers know only that. Vouchers of the InferenceEscrow will be a second implementation of it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from linklearner.domain.errors import PermissionDenied, Unauthenticated
from linklearner.domain.notation import UNIT_WEI, amount_text
from linklearner.domain.sign_in import SignIn, statement_of, uri_of
from services.model_server.sessions import Challenges, Holding, Session, Sessions, recover
from services.model_server.stakes import StakeWatch


class Caller(Protocol):
    """Whoever was let in, as far as bounds are concerned."""

    calls: int
    """Open just now."""


class Admission(Protocol):
    async def admit(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Lets a call with this metadata pass, or raises Unauthenticated, PermissionDenied, Exhausted or Unavailable.

        It is asked before a byte of the call's message is read.
        """


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has just begun."""

    token: str = field(repr=False)
    expires_s: int
    """Unix seconds."""
    locked_units: int
    required_units: int


class Gate:
    """Sessions by signed challenge, judged by locked stake.

    session_s: life of a session, told to the caller. stale_s: how old a confirmed stake may be.
    """

    def __init__(
        self,
        stakes: StakeWatch,
        challenges: Challenges,
        sessions: Sessions,
        *,
        task: int,
        required_units: int,
        session_s: float,
        stale_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._stakes = stakes
        self._challenges = challenges
        self._sessions = sessions
        self._task = task
        self._required_units = required_units
        self.domain = ""
        """host:port that signatures are bound to; set when the server knows its port."""
        self._session_s = session_s
        self._stale_s = stale_s
        self._monotonic = monotonic
        self._wall = wall

    def challenge(self, address: bytes, nonce: bytes) -> SignIn:
        """A text for this address to sign. nonce: the caller's half, or empty.

        Raises InvalidInput, or Unavailable while the chain is unknown.
        """
        return self._challenges.issue(
            address,
            nonce=nonce,
            domain=self.domain,
            uri=uri_of(self.domain),
            chain_id=self._stakes.chain_id(),
            statement=statement_of(self._task),
            wall_s=self._wall(),
            now=self._monotonic(),
        )

    async def open(self, message: str, signature: bytes) -> Opened:
        """A session for a signed challenge. Raises Unauthenticated, PermissionDenied or Unavailable.

        A challenge counts as used when it opens a session: a wrong signature under somebody's text takes nothing from them.
        """
        now = self._monotonic()
        sign_in = self._challenges.check(message, now)
        if recover(message, signature) != sign_in.address:
            raise Unauthenticated(
                f"this text was not signed by the key of 0x{sign_in.address.hex()}", reason="WrongSigner"
            )
        holding = self._sessions.holding(sign_in.address)
        holding.used = now
        await self._stakes.read(holding)
        self._check_stake(holding)
        now = self._monotonic()
        self._challenges.use(sign_in, now)
        token = self._sessions.open(holding, now)
        return Opened(token, int(self._wall() + self._session_s), holding.units, self._required_units)

    def close(self, token: str) -> None:
        """Ends a session."""
        self._sessions.close(token)

    async def admit(self, metadata: Iterable[tuple[str, str | bytes]]) -> Session:
        """Passes a call whose bearer token stands for an address with enough locked just now."""
        now = self._monotonic()
        session = self._session(metadata, now)
        holding = session.holding
        session.used = holding.used = now
        if now - holding.confirmed > self._stale_s:
            await self._stakes.read(holding)
        if holding.units < self._required_units:
            self._check_stake(holding)
        return session

    def active(self, now: float) -> list[Holding]:
        """The holdings worth keeping fresh: those whose sessions are in use. Forgets what has expired on the way."""
        self._challenges.forget_expired(now)
        self._sessions.forget_expired(now)
        return [holding for holding in self._sessions.holdings() if now - holding.used <= self._stale_s]

    def _session(self, metadata: Iterable[tuple[str, str | bytes]], now: float) -> Session:
        for key, value in metadata:
            if key == "authorization":
                if not isinstance(value, str) or value[:7].lower() != "bearer ":
                    break
                session = self._sessions.find(value[7:], now)
                if session is None:
                    raise Unauthenticated(
                        "this token opens nothing (any more): open a session with SessionService.OpenSession",
                        reason="UnknownToken",
                    )
                return session
        raise Unauthenticated(
            "inference takes the metadata `authorization: Bearer <token>`: get one from SessionService.CreateChallenge and "
            "OpenSession on this port",
            reason="NoToken",
        )

    def _check_stake(self, holding: Holding) -> None:
        if holding.units < self._required_units:
            raise PermissionDenied(
                f"0x{holding.address.hex()} has {amount_text(holding.units * UNIT_WEI)} $LL locked in task {self._task}, and access takes "
                f"{amount_text(self._required_units * UNIT_WEI)}: lock more with `linklearner stake lock`",
                reason="NotEnoughLocked",
                facts={
                    "locked_units": holding.units,
                    "required_units": self._required_units,
                    "task": self._task,
                },
            )
