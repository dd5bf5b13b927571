"""Whoever reaches a port is not yet a caller."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linklearner.domain.errors import InvalidConfig, Unauthenticated
from linklearner.rpc.access import (
    CONTRIBUTOR,
    OPERATOR,
    READER,
    Access,
    CallerEntrance,
    Credential,
    Role,
    calling,
    entrances,
)
from linklearner.rpc.channel import channel
from linklearner.rpc.server import RpcServer
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc

SERVICE = "linklearner.v1.ChainGatewayService"
ROLES = {f"/{SERVICE}/GetTask": Role.READ, f"/{SERVICE}/WatchVersions": Role.READ}
MINE, OTHER = b"\1" * 20, b"\2" * 20


class Naming(pb_grpc.ChainGatewayServiceServicer):
    """Answers who calls."""

    async def GetTask(self, request: pb.GetTaskRequest, context: object) -> pb.GetTaskResponse:  # noqa: N802
        answer = pb.GetTaskResponse()
        answer.task.model = calling().name
        return answer

    async def WatchVersions(  # noqa: N802
        self, request: pb.WatchVersionsRequest, context: object
    ) -> AsyncIterator[pb.WatchVersionsResponse]:
        yield pb.WatchVersionsResponse()

    async def Transfer(self, request: pb.TransferRequest, context: object) -> pb.TransferResponse:  # noqa: N802
        calling().check_account(request.account)
        return pb.TransferResponse()


def served(register: Callable[[grpc.aio.Server], None], access: Access) -> RpcServer:
    return RpcServer(
        "127.0.0.1:0",
        register,
        (SERVICE,),
        entrances=entrances(access, ROLES),
        entrance=CallerEntrance(access, Role.SPEND),
    )


@asynccontextmanager
async def stub(access: Access, credential: Credential | None) -> AsyncIterator[pb_grpc.ChainGatewayServiceStub]:
    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_ChainGatewayServiceServicer_to_server(Naming(), server)

    async with (
        served(register, access) as server,
        channel(server.address, credential) as wire,
    ):
        await server.set_ready(True)
        health = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING, "health needs no credential"
        yield pb_grpc.ChainGatewayServiceStub(wire)


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call  # type: ignore[misc]
    return from_rpc_error(failure.value).reason


async def test_a_stranger_gets_nothing_by_call_or_stream() -> None:
    known = Credential.new("reader", Role.READ)
    for stranger in (None, Credential.new("reader", Role.SPEND)):
        async with stub(Access([known]), stranger) as gateway:
            reason = "NoCredential" if stranger is None else "UnknownCredential"
            assert await refused(gateway.GetTask(pb.GetTaskRequest())) == reason
            assert await refused(gateway.Transfer(pb.TransferRequest())) == reason
            assert await refused(gateway.WatchVersions(pb.WatchVersionsRequest()).read()) == reason


async def test_a_role_opens_its_methods_and_a_method_without_one_needs_the_greatest() -> None:
    reader, operator = Credential.new("reader", Role.READ), Credential.new("operator", Role.SPEND)
    access = Access([reader, operator])
    async with stub(access, reader) as gateway:
        assert (await gateway.GetTask(pb.GetTaskRequest())).task.model == "reader"
        assert [answer async for answer in gateway.WatchVersions(pb.WatchVersionsRequest())]
        assert await refused(gateway.Transfer(pb.TransferRequest())) == "RoleTooSmall"
    async with stub(access, operator) as gateway:
        await gateway.Transfer(pb.TransferRequest(account=MINE))


async def test_a_credential_for_one_account_acts_for_no_other() -> None:
    bound = Credential.new("operator", Role.SPEND, MINE)
    async with stub(Access([bound]), bound) as gateway:
        await gateway.Transfer(pb.TransferRequest(account=MINE))
        assert await refused(gateway.Transfer(pb.TransferRequest(account=OTHER))) == "WrongAccount"


async def test_a_refused_message_is_not_read() -> None:
    """Bytes that are no message at all are refused for want of a credential, not for what they are."""

    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_ChainGatewayServiceServicer_to_server(Naming(), server)

    known = Credential.new("reader", Role.READ)
    async with served(register, Access([known])) as server:
        reasons = []
        for credential in (None, known):
            async with channel(server.address, credential) as wire:
                call = wire.unary_unary(f"/{SERVICE}/GetTask", request_serializer=bytes)
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await call(b"\xff\xff\xff")
                reasons.append(failure.value.code())
        assert reasons[0] is grpc.StatusCode.UNAUTHENTICATED
        assert reasons[1] is not grpc.StatusCode.UNAUTHENTICATED


def test_who_calls_is_unknown_outside_of_a_call() -> None:
    with pytest.raises(Unauthenticated):
        calling()


def test_metadata_names_exactly_one_caller() -> None:
    one = Credential.new("one", Role.READ)
    access = Access([one])
    good = ("authorization", f"Bearer {one.token}")
    assert access.caller([("x", "y"), good]).name == "one"
    for metadata in (
        [],
        [good, good],
        [("authorization", one.token)],
        [("authorization", b"Bearer " + one.token.encode())],
    ):
        with pytest.raises(Unauthenticated):
            access.caller(metadata)  # type: ignore[arg-type]


# --- files


def test_an_empty_folder_gets_three_private_credentials_that_stay(tmp_path: Path) -> None:
    folder = tmp_path / "access"
    Access.open(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    roles = {name: Credential.read(folder / name).caller.role for name in (OPERATOR, CONTRIBUTOR, READER)}
    assert roles == {OPERATOR: Role.SPEND, CONTRIBUTOR: Role.CONTRIBUTE, READER: Role.READ}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    before = Credential.read(folder / OPERATOR)
    access = Access.open(folder)
    assert access.caller([("authorization", f"Bearer {before.token}")]).role is Role.SPEND
    assert sorted(path.name for path in folder.iterdir()) == sorted((OPERATOR, CONTRIBUTOR, READER)), (
        "nothing half-made"
    )


def test_a_credential_survives_its_file(tmp_path: Path) -> None:
    for credential in (Credential.new("a", Role.READ), Credential.new("b-1", Role.CONTRIBUTE, MINE)):
        path = tmp_path / f"{credential.caller.name}.json"
        credential.write(path)
        assert Credential.read(path) == credential
        with pytest.raises(FileExistsError):
            credential.write(path)


def test_a_credential_tells_its_token_to_nobody() -> None:
    credential = Credential.new("a", Role.READ)
    assert credential.token not in repr(credential)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    Credential.new("a", Role.READ).write(path)
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(InvalidConfig, match="chmod 600"):
            Credential.read(path)


GOOD = {"caller": "a", "role": "read", "token": "ab" * 32}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 5000,
        "null",
        "x" * 5000,
        json.dumps(GOOD | {"role": "admin"}),
        json.dumps(GOOD | {"role": ["read"]}),
        json.dumps(GOOD | {"token": "AB" * 32}),
        json.dumps(GOOD | {"token": "ab" * 31}),
        json.dumps(GOOD | {"token": 7}),
        json.dumps(GOOD | {"caller": "../x"}),
        json.dumps(GOOD | {"caller": "a" * 33}),
        json.dumps(GOOD | {"account": "0x12"}),
        json.dumps(GOOD | {"more": 1}),
        json.dumps({"caller": "a", "role": "read"}),
    ],
)
def test_what_is_no_credential_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)
    with pytest.raises(InvalidConfig, match=r"a\.json|caller|token"):
        Credential.read(path)


def test_a_missing_file_says_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="a gateway makes some"):
        Credential.read(tmp_path / "none.json")


def test_two_callers_share_neither_name_nor_token() -> None:
    one = Credential.new("one", Role.READ)
    with pytest.raises(InvalidConfig):
        Access([one, Credential.new("one", Role.READ)])
    with pytest.raises(InvalidConfig):
        Access([one, Credential(caller=Credential.new("two", Role.READ).caller, token=one.token)])


def test_a_file_of_another_role_is_not_taken_for_ours(tmp_path: Path) -> None:
    Credential.kept(tmp_path / "a.json", Role.READ)
    assert Credential.kept(tmp_path / "a.json", Role.READ).caller.name == "a"
    with pytest.raises(InvalidConfig, match="another role"):
        Credential.kept(tmp_path / "a.json", Role.SPEND)
