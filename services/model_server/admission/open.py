"""Admission `open`: whoever reaches the server may ask. For this machine alone, so the server listens on a loopback address or not at all.

Whoever can reach it: every process and user of the machine, and whatever the operator forwards to it. They gain inference without $LL,
bounded as for everybody by the rows of a request and the messages that are received at once.
"""

import ipaddress
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NoReturn

import grpc

from linklearner.domain.errors import InvalidConfig, Refused
from linklearner.domain.notation import Endpoint
from linklearner.rpc.entrance import Context
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.admission.admission import Admission, AdmissionSettings, Guarded, Metadata

EVERYBODY = "everybody"


@dataclass(frozen=True, kw_only=True)
class Open(AdmissionSettings):
    """None."""

    def check_listener(self, listen: Endpoint) -> None:
        if not _is_this_machine_alone(listen.host):
            raise InvalidConfig(
                f"admission open lets everybody in, so listen must be a loopback address such as 127.0.0.1:50061, got {listen}: "
                "choose one, or admission stake",
                facts={"setting": "listen"},
            )

    def admission(self, server: Guarded) -> "OpenAdmission":
        return OpenAdmission(server.terms)


class OpenAdmission(Admission):
    """One party, no price."""

    services = (session.DESCRIPTOR.services_by_name["SessionService"].full_name,)

    def __init__(self, terms: Callable[[], session.GetTermsResponse]) -> None:
        self._terms = terms

    async def enter(self, metadata: Metadata) -> Hashable:
        return EVERYBODY

    def register(self, server: grpc.aio.Server) -> None:
        session_grpc.add_SessionServiceServicer_to_server(OpenServicer(self._terms), server)


class OpenServicer(session_grpc.SessionServiceServicer):
    """linklearner.v1.SessionService where no session is needed: the terms, and nothing to sign."""

    def __init__(self, terms: Callable[[], session.GetTermsResponse]) -> None:
        self._terms = terms

    async def GetTerms(self, request: session.GetTermsRequest, context: Context) -> session.GetTermsResponse:  # noqa: N802
        return self._terms()

    async def CreateChallenge(  # noqa: N802
        self, request: session.CreateChallengeRequest, context: Context
    ) -> session.CreateChallengeResponse:
        _refuse()

    async def OpenSession(  # noqa: N802
        self, request: session.OpenSessionRequest, context: Context
    ) -> session.OpenSessionResponse:
        _refuse()

    async def CloseSession(  # noqa: N802
        self, request: session.CloseSessionRequest, context: Context
    ) -> session.CloseSessionResponse:
        return session.CloseSessionResponse()


def _refuse() -> NoReturn:
    raise Refused("this server takes no sessions, it answers everybody: ask without one", reason="NoSessions")


def _is_this_machine_alone(host: str) -> bool:
    """Whether nobody else can reach a listener there. Not for 0.0.0.0 and [::], which are every address of the machine, nor for a name that
    must be looked up."""
    if host.lower() == "localhost":
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(number, "ipv4_mapped", None) or number).is_loopback
