"""Admission `stake`: those who proved an address and have enough $LL locked in the task, and nobody else.

The check is made for every call and costs about a microsecond: one hash, one dictionary, three comparisons. What it compares with is
kept fresh in the background (`stakes`), so a caller who unlocks is refused within `stake_refresh_s` and a round trip to the gateway,
and within `stake_stale_s` even if the gateway or the chain stops answering: then everybody is (UNAVAILABLE, with the reason).
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Annotated, Self

import grpc
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from linklearner.domain.errors import Exhausted, InvalidConfig, LinkLearnerError, PermissionDenied, Unauthenticated
from linklearner.domain.notation import UINT64, UNIT_WEI, amount_text, shown
from linklearner.domain.sign_in import SignIn, page_domain, page_uri, statement_of, uri_of
from linklearner.rpc.entrance import Context
from linklearner.rpc.status import code_of
from linklearner.settings import Between, Origins
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.admission.admission import Admission, AdmissionSettings, Guarded, Metadata, beyond
from services.model_server.admission.sessions import Challenges, Holding, Session, Sessions, recover
from services.model_server.stakes import StakeWatch

log = structlog.get_logger()

ORIGINS = Origins()


@dataclass(frozen=True, kw_only=True)
class StakeSettings(AdmissionSettings):
    """What a session takes, and how long it lasts."""

    domain: str = ""
    """host:port under which callers know this server; signatures are bound to it. Empty: the address it listens on."""
    origins: Annotated[str, ORIGINS] = ""
    """Web pages whose visitors may sign in, by their origins, as http://localhost:8780; signatures are bound to the page's instead of
    `domain`. Empty: programs alone sign in."""
    required_units: Annotated[int, Between(0, UINT64)] = 1000
    """$LL, in units of 10^15 wei, that a caller's address must have locked in the task; the default is one $LL. 0: any address."""
    challenge_s: Annotated[float, Between(120, 300)] = 180.0
    """Seconds in which a challenge may be signed."""
    session_s: Annotated[float, Between(600, 900)] = 720.0
    """Seconds that a session lasts."""
    stake_refresh_s: Annotated[float, Between(0.01, 60)] = 2.0
    """Seconds between two looks at the chain's head; a new head makes the stakes of active callers be read again."""
    stake_stale_s: Annotated[float, Between(0.05, 300)] = 10.0
    """Seconds after which a stake that could not be confirmed opens no gate: the longest time that service outlives an unlock."""
    head_stale_s: Annotated[float, Between(0, 86400)] = 0.0
    """Refuse gated calls when the chain's newest block is older than this many seconds; 0 for chains that make blocks only on demand."""
    max_sessions: Annotated[int, Between(1, 1_000_000)] = 4096
    """Open sessions at most; one more ends the idlest of the address that has the most."""
    max_sessions_per_address: Annotated[int, Between(1, 1_000_000)] = 8
    """Open sessions of one address at most; one more ends the one that has been idle longest."""
    max_calls_per_session: Annotated[int, Between(1, 1_000_000)] = 128
    """Inference calls that one session may have open at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stake_stale_s <= self.stake_refresh_s:
            raise InvalidConfig(
                f"stake_stale_s ({self.stake_stale_s}) must exceed stake_refresh_s ({self.stake_refresh_s}): otherwise "
                "every stake is stale before it is read again",
                facts={"setting": "stake_stale_s"},
            )
        if any(character.isspace() for character in self.domain):
            raise InvalidConfig("domain must be a host:port without spaces", facts={"setting": "domain"})

    def beyond(self, place: int) -> Self:
        return replace(self, domain=beyond(self.domain, place)) if self.domain else self

    def admission(self, server: Guarded) -> "StakeAdmission":
        stakes = StakeWatch(server.gateway, server.task, refresh_s=self.stake_refresh_s, head_stale_s=self.head_stale_s)
        return StakeAdmission(self, task=server.task, stakes=stakes, terms=server.terms, registry=server.registry)


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that has just begun."""

    token: str = field(repr=False)
    expires_s: int
    """Unix seconds."""
    locked_units: int
    required_units: int


class StakeAdmission(Admission):
    """Sessions by signed challenge, judged by locked stake."""

    extensions = ("linklearner_session",)
    """ModelInfer takes a bearer token of linklearner.v1.SessionService."""
    services = (session.DESCRIPTOR.services_by_name["SessionService"].full_name,)

    def __init__(
        self,
        settings: StakeSettings,
        *,
        task: int,
        stakes: StakeWatch,
        terms: Callable[[], session.GetTermsResponse],
        registry: CollectorRegistry,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._task = task
        self._stakes = stakes
        self._terms = terms
        self._challenges = Challenges(settings.challenge_s)
        self.sessions = Sessions(settings.session_s, settings.max_sessions, settings.max_sessions_per_address)
        self._stale_s = settings.stake_stale_s
        self._required_units = settings.required_units
        self._max_calls = settings.max_calls_per_session
        self._domain = settings.domain
        self._origins = ORIGINS.read(settings.origins)
        self._monotonic = monotonic
        self._wall = wall
        Gauge("linklearner_sessions", "Open sessions", registry=registry).set_function(lambda: len(self.sessions))
        Gauge(
            "linklearner_stakes_readable", "1 while stakes can be read through the gateway", registry=registry
        ).set_function(lambda: stakes.trouble is None)
        self._opened = Counter(
            "linklearner_sessions_opened", "OpenSession calls by gRPC status code", ["code"], registry=registry
        )

    def register(self, server: grpc.aio.Server) -> None:
        session_grpc.add_SessionServiceServicer_to_server(SessionServicer(self, self._opened), server)

    def listening(self, address: str) -> None:
        self._domain = self._settings.domain or address
        if self._domain.startswith(("0.0.0.0:", "[::]:")):
            log.warning(
                "domain_unset",
                detail="callers sign only texts that name the address they dialled: set `domain` to that address",
                domain=self._domain,
            )

    async def run(self) -> None:
        await self._stakes.run(self._active)

    def terms(self) -> session.GetTermsResponse:
        """What an inference takes. Raises Unavailable while no version is live."""
        terms = self._terms()
        terms.max_calls = self._max_calls
        terms.required_units = self._required_units
        return terms

    def challenge(self, address: bytes, nonce: bytes, origin: str = "") -> SignIn:
        """A text for this address to sign. nonce: the caller's half, or empty. origin: of the page that asks, empty for a program.

        Raises InvalidInput, PermissionDenied for a page that is not in `origins`, or Unavailable while the chain is unknown.
        """
        if origin and origin not in self._origins:
            raise PermissionDenied(
                f"visitors of {shown(origin)} do not sign in here: name the page in the model server's setting `origins`",
                reason="UnknownOrigin",
                facts={"origin": origin},
            )
        return self._challenges.issue(
            address,
            nonce=nonce,
            domain=page_domain(origin) if origin else self._domain,
            uri=page_uri(origin) if origin else uri_of(self._domain),
            chain_id=self._stakes.chain_id(),
            statement=statement_of(self._task),
            wall_s=self._wall(),
            now=self._monotonic(),
        )

    async def open(self, message: str, signature: bytes) -> OpenedSession:
        """A session for a signed challenge. Raises Unauthenticated, PermissionDenied or Unavailable.

        A challenge counts as used when it opens a session: a wrong signature under somebody's text takes nothing from them.
        """
        now = self._monotonic()
        sign_in = self._challenges.check(message, now)
        if recover(message, signature) != sign_in.address:
            raise Unauthenticated(
                f"this text was not signed by the key of 0x{sign_in.address.hex()}", reason="WrongSigner"
            )
        holding = self.sessions.holding(sign_in.address)
        holding.used = now
        await self._stakes.read(holding)
        self._check_stake(holding)
        now = self._monotonic()
        self._challenges.use(sign_in, now)
        token = self.sessions.open(holding, now)
        return OpenedSession(token, int(self._wall() + self._settings.session_s), holding.units, self._required_units)

    def close(self, token: str) -> None:
        """Ends a session."""
        self.sessions.close(token)

    async def enter(self, metadata: Metadata) -> Session:
        """Passes a call whose bearer token stands for an address with enough locked just now."""
        now = self._monotonic()
        caller = self._session(metadata, now)
        holding = caller.holding
        caller.used = holding.used = now
        if now - holding.confirmed > self._stale_s:
            await self._stakes.read(holding)
        if holding.units < self._required_units:
            self._check_stake(holding)
        if caller.calls >= self._max_calls:
            raise Exhausted(
                f"this session has {caller.calls} calls open, the most there may be: wait for answers",
                reason="TooManyCalls",
                facts={"calls": caller.calls},
            )
        caller.calls += 1
        return caller

    def leave(self, party: Hashable) -> None:
        assert isinstance(party, Session)
        party.calls -= 1

    def _active(self, now: float) -> list[Holding]:
        """The holdings worth keeping fresh: those whose sessions are in use. Forgets what has expired on the way."""
        self._challenges.forget_expired(now)
        self.sessions.forget_expired(now)
        return [holding for holding in self.sessions.holdings() if now - holding.used <= self._stale_s]

    def _session(self, metadata: Metadata, now: float) -> Session:
        for key, value in metadata:
            if key == "authorization":
                if not isinstance(value, str) or value[:7].lower() != "bearer ":
                    break
                found = self.sessions.find(value[7:], now)
                if found is None:
                    raise Unauthenticated(
                        "this token opens nothing (any more): open a session with SessionService.OpenSession",
                        reason="UnknownToken",
                    )
                return found
        raise Unauthenticated(
            "inference takes the metadata `authorization: Bearer <token>`: get one from SessionService.CreateChallenge and "
            "OpenSession on this port",
            reason="NoToken",
        )

    def _check_stake(self, holding: Holding) -> None:
        if holding.units < self._required_units:
            raise PermissionDenied(
                f"0x{holding.address.hex()} has {amount_text(holding.units * UNIT_WEI)} $LL locked in task {self._task}, and access "
                f"takes {amount_text(self._required_units * UNIT_WEI)}: lock more with `linklearner stake lock`",
                reason="NotEnoughLocked",
                facts={
                    "locked_units": holding.units,
                    "required_units": self._required_units,
                    "task": self._task,
                },
            )


class SessionServicer(session_grpc.SessionServiceServicer):
    """linklearner.v1.SessionService."""

    def __init__(self, admission: StakeAdmission, opened: Counter) -> None:
        self._admission = admission
        self._opened = opened

    async def GetTerms(self, request: session.GetTermsRequest, context: Context) -> session.GetTermsResponse:  # noqa: N802
        return self._admission.terms()

    async def CreateChallenge(  # noqa: N802
        self, request: session.CreateChallengeRequest, context: Context
    ) -> session.CreateChallengeResponse:
        sign_in = self._admission.challenge(request.address, request.nonce, request.origin)
        return session.CreateChallengeResponse(message=sign_in.text(), expires_s=sign_in.expires_s)

    async def OpenSession(  # noqa: N802
        self, request: session.OpenSessionRequest, context: Context
    ) -> session.OpenSessionResponse:
        try:
            opened = await self._admission.open(request.message, request.signature)
        except LinkLearnerError as error:
            self._opened.labels(code=code_of(error).name).inc()
            raise
        self._opened.labels(code="OK").inc()
        return session.OpenSessionResponse(
            token=opened.token,
            expires_s=opened.expires_s,
            locked_units=opened.locked_units,
            required_units=opened.required_units,
        )

    async def CloseSession(  # noqa: N802
        self, request: session.CloseSessionRequest, context: Context
    ) -> session.CloseSessionResponse:
        self._admission.close(request.token)
        return session.CloseSessionResponse()
