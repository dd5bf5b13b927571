"""Background work goes on after whatever a gateway does, and ends the process where only another start can help."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from eth_account.signers.local import LocalAccount

from linklearner.domain.digits import DIGITS
from linklearner.domain.errors import DataLoss, Unavailable
from linklearner.testing.gateway import FakeGateway, weights_of
from services.model_server.config import ModelServerConfig
from services.model_server.endurance import CONTRADICTED_S, MAX_BUGS, Endurance
from tests.services.model_server.conftest import eventually, token_for

ROOT = Path(__file__).resolve().parents[3]


def test_a_gateway_that_is_away_is_waited_for_as_long_as_it_takes() -> None:
    now = [0.0]
    work = Endurance(lambda: now[0])
    for now[0] in range(0, 100_000, 10):
        work.failed(Unavailable("nobody answers"))


def test_a_gateway_that_contradicts_what_was_seen_is_waited_for_two_minutes() -> None:
    now = [0.0]
    work = Endurance(lambda: now[0])
    contradiction = Unavailable("another chain", reason="OtherChain")
    for now[0] in (0.0, CONTRADICTED_S - 1):
        work.failed(contradiction)
    work.succeeded()
    for now[0] in (CONTRADICTED_S, 2 * CONTRADICTED_S - 1):
        work.failed(contradiction)
    now[0] = 2 * CONTRADICTED_S
    with pytest.raises(DataLoss, match="it ends, and follows the gateway anew"):
        work.failed(contradiction)


def test_a_bug_that_shows_every_time_ends_the_work() -> None:
    work = Endurance()
    for _ in range(MAX_BUGS - 1):
        work.failed(KeyError("x"))
    work.succeeded()
    for _ in range(MAX_BUGS - 1):
        work.failed(KeyError("x"))
    with pytest.raises(KeyError):
        work.failed(KeyError("x"))


GARBAGE: list[Callable[[FakeGateway], Any]] = [
    lambda gateway: setattr(gateway, "model", DIGITS.to_json().replace("0.0625", "1" + 400 * "0")),
    lambda gateway: setattr(gateway, "model", DIGITS.to_json().replace("digits", "\\ud800")),
    lambda gateway: setattr(gateway, "model", "[" * 16000),
    lambda gateway: setattr(gateway, "model", DIGITS.to_json().replace("[64,", "[1048576,")),
    lambda gateway: setattr(gateway, "chain_id", 0),
]


@pytest.mark.parametrize("spoil", GARBAGE)
async def test_garbage_from_the_gateway_is_survived(
    start: Callable[..., Any], gateway: FakeGateway, spoil: Callable[[FakeGateway], Any]
) -> None:
    model, chain_id = gateway.model, gateway.chain_id
    spoil(gateway)
    server = await start(ready=False)
    await asyncio.sleep(0.5)
    gateway.model, gateway.chain_id = model, chain_id
    await asyncio.wait_for(server.ready(), 10)


async def test_a_bug_in_loading_is_survived_and_counted(
    start: Callable[..., Any], gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start()
    failures = []

    def failing(*arguments: Any) -> Any:
        failures.append(1)
        raise MemoryError("no room just now")

    with monkeypatch.context() as patch:
        patch.setattr("services.model_server.versions.load", failing)
        gateway.publish(weights_of(1))
        await eventually(lambda: failures)
    await eventually(lambda: server.loaded.live.version.version == 2)


async def test_a_bug_in_reading_stakes_is_survived(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start()
    failures = []

    async def failing(*_: Any, **options: Any) -> Any:
        failures.append(options)
        raise KeyError("x")

    with monkeypatch.context() as patch:
        patch.setattr("linklearner.client.gateway.GatewayClient.chain", failing)
        await eventually(lambda: failures)
    async with asyncio.timeout(10):
        while True:
            try:
                await token_for(caller, server.address)
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)


async def test_a_process_that_cannot_go_on_ends_with_a_sentence(gateway: FakeGateway) -> None:
    program = (
        "import runpy, services.model_server.endurance as e; e.CONTRADICTED_S = 0.2; "
        "runpy.run_module('services.model_server', run_name='__main__')"
    )
    settings = {
        "GATEWAY": gateway.address,  # type: ignore[attr-defined]
        "CREDENTIAL": "",
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "STAKE_REFRESH_S": "0.05",
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        cwd=ROOT,
        env={**os.environ, **{ModelServerConfig.PREFIX + name: value for name, value in settings.items()}},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert running.stdout is not None
        async with asyncio.timeout(60):
            await running.stdout.readline()
            await eventually(lambda: gateway.chain_reads >= 2)
            gateway.chain_id = 1
            _, err = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
    assert running.returncode == 1
    assert "the gateway has contradicted what this server has seen" in err.decode().splitlines()[-1]
