"""The seam between ModelInfer and whatever decides who may call it.

A call passes in two steps. `enter` sees its metadata alone, before a byte of the message is read: most of what is to be refused is refused
there, for the price of a header. `admit` sees the whole request, and gives a grant that lasts as long as the answer is being made:

    party = await admission.enter(metadata)
    …                                               # the message is received, bounded by party, and parsed
    async with admission.admit(call) as grant:      # debits; raises if that is not possible
        answer = infer(call.request)                # settles at the end; releases, with the error, if there is no answer
    admission.leave(party)

An admission that takes no payment admits by `FREE`.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Self

import grpc
from prometheus_client import CollectorRegistry

from linklearner.client.gateway import GatewayClient
from linklearner.domain.notation import Endpoint
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.settings import Settings
from linklearner.v1 import session_pb2 as session


def beyond(address: str, place: int) -> str:
    """host:port so many ports further on; a free port stays one. Raises InvalidInput beyond the last one."""
    first = Endpoint.parse(address, any_port=True)
    return str(Endpoint.parse(str(Endpoint(first.host, first.port and first.port + place)), any_port=True))


Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(slots=True)
class InferenceCall:
    """One ModelInfer, as far as it has come in."""

    party: Hashable
    """Whom `enter` let in."""
    metadata: Metadata = field(repr=False)
    digest: bytes = b""
    """SHA-256 of the message's bytes as they came, 32 bytes; empty unless the admission `takes_digest`."""
    request: oip.ModelInferRequest = field(init=False, repr=False)
    """Parsed; there from `admit` on."""

    @property
    def model(self) -> str:
        """The name that is asked for; whether there is such a model is seen later."""
        return self.request.model_name

    @property
    def rows(self) -> int:
        """Rows that the request says it has. One that has another number of them gets no answer, so the grant of a lie is released."""
        inputs = self.request.inputs
        return max(inputs[0].shape[0], 0) if inputs and inputs[0].shape else 0


class Grant:
    """What an admitted call holds while its answer is being made."""

    __slots__ = ()

    async def debit(self) -> None:
        """Takes the price before anything is computed. Raises Exhausted, PermissionDenied or Unavailable, having taken nothing; where it is
        cancelled, it has taken nothing either, for neither `settle` nor `release` follows."""

    async def settle(self) -> None:
        """There is an answer: the price stays."""

    async def release(self, error: BaseException) -> None:
        """There is none. error: why. What is the caller's fault (InvalidInput) need not be given back, what is ours must be.
        CancelledError: the caller gave up before there was an answer.
        """

    async def __aenter__(self) -> Self:
        await self.debit()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.settle()
        else:
            await self.release(error)


class _Free(Grant):
    """Costs nothing, and no more coroutines than a context takes: every call by stake holds it."""

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


FREE: Grant = _Free()


class Admission:
    """Decides about calls of ModelInfer, and brings what callers need for it: services, metrics, background work."""

    extensions: ClassVar[tuple[str, ...]] = ()
    """How ServerMetadata tells clients of it."""
    services: ClassVar[tuple[str, ...]] = ()
    """Full names of the gRPC services that `register` adds, for health and reflection."""
    takes_digest: ClassVar[bool] = False
    """Whether `admit` looks at the digest of the message, which is computed only then."""

    async def enter(self, metadata: Metadata) -> Hashable:
        """The party that calls, which `Places` shares room between. Raises Unauthenticated, PermissionDenied, Exhausted or Unavailable.

        Asked before a byte of the call's message is read: cheap, and not to be made to work by those who are refused.
        """
        raise NotImplementedError

    def leave(self, party: Hashable) -> None:
        """Called once for each party that has entered, when its call is over."""

    def admit(self, call: InferenceCall) -> Grant:
        """The price of this request, as a context that is entered before anything is computed."""
        return FREE

    def register(self, server: grpc.aio.Server) -> None:
        """Adds `services`."""

    def listening(self, address: str) -> None:
        """The server's host:port, known when it has a port and before it takes calls for a live model."""

    async def run(self) -> None:
        """Background work until cancelled. Raises what only another start can help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """The server that an admission is made for."""

    task: int
    gateway: GatewayClient
    terms: Callable[[], session.GetTermsResponse]
    """What the live model takes, without what the admission takes; raises Unavailable before the first version."""
    registry: CollectorRegistry
    """Of its metrics."""


@dataclass(frozen=True, kw_only=True)
class AdmissionSettings(Settings):
    """The settings of one admission, under the prefix of the model server's."""

    def check_listener(self, listen: Endpoint) -> None:
        """Raises InvalidConfig for an address at which this admission must not stand."""

    def beyond(self, place: int) -> Self:
        """The same for the server of another task in this process, so many ports further on."""
        return self

    def admission(self, server: Guarded) -> Admission:
        """The admission of this server, which asks it for nothing before it runs."""
        raise NotImplementedError
