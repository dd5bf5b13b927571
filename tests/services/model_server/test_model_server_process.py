"""`python -m services.model_server` as operators meet it: settings, ports, signals, kill -9."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from eth_account.signers.local import LocalAccount

from linklearner.client.inference import InferenceClient
from linklearner.domain.errors import InvalidConfig, Unauthenticated, Unavailable
from linklearner.testing.gateway import FakeGateway, weights_of
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer

ROOT = Path(__file__).resolve().parents[3]
PIXELS = np.zeros((1, 64), np.float32)


def environment(**settings: object) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(ModelServerConfig.PREFIX)},
        **{
            ModelServerConfig.PREFIX + name.upper(): str(value)
            for name, value in {"credential": "", **settings}.items()
        },
    }


@asynccontextmanager
async def process(**settings: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    """A running server: the process, its address, and the URL of its metrics."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.model_server",
        cwd=ROOT,
        env=environment(**{"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", **settings}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert running.stdout is not None and running.stderr is not None
        async with asyncio.timeout(30):
            line = (await running.stdout.readline()).decode().split()
        assert line[:1] == ["model_server"], (await running.stderr.read()).decode()
        yield running, line[1], line[3]
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def ended(**settings: object) -> tuple[int | None, str]:
    """Exit status and last words of a server that does not get started."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.model_server",
        cwd=ROOT,
        env=environment(**settings),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, err = await running.communicate()
    return running.returncode, err.decode()


async def ask(address: str, account: LocalAccount | None) -> int:
    """The version that answered, as soon as one does."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with InferenceClient(address, account) as client:
                    return (await client.infer("digits", PIXELS)).version
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_after_kill_9_a_restarted_server_serves_the_newest_version_and_old_tokens_are_gone(
    gateway: FakeGateway, caller: LocalAccount
) -> None:
    address = gateway.address  # type: ignore[attr-defined]
    async with process(gateway=address) as (running, first, _):
        assert await ask(first, caller) == 1
        async with InferenceClient(first, caller) as client:
            old_token = client.token
            await client.infer("digits", PIXELS)
            running.send_signal(signal.SIGKILL)
            assert await running.wait() == -signal.SIGKILL
            with pytest.raises(Unavailable):
                await client.infer("digits", PIXELS)
    gateway.publish(weights_of(1))
    async with process(gateway=address, listen=first) as (_, second, metrics):
        assert second == first
        assert await ask(second, caller) == 2
        async with InferenceClient(second, None) as client:
            client.token = old_token
            with pytest.raises(Unauthenticated):
                await client.infer("digits", PIXELS)
        async with httpx.AsyncClient() as http:
            assert "linklearner_model_version 2.0" in (await http.get(metrics)).text


async def test_sigterm_ends_the_server_at_once_and_well(gateway: FakeGateway) -> None:
    async with process(gateway=gateway.address) as (running, _, _):  # type: ignore[attr-defined]
        began = time.monotonic()
        running.terminate()
        async with asyncio.timeout(10):
            assert await running.wait() == 0
        assert time.monotonic() - began < 5


async def test_a_port_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, words = await ended(listen=address, metrics_listen="127.0.0.1:0")
        assert status == 2
        assert f"model_server: cannot listen on {address}: the port is in use" in words and "Traceback" not in words
        status, words = await ended(listen="127.0.0.1:0", metrics_listen=address)
        assert status == 2
        assert f"model_server: cannot serve metrics on {address}" in words and "choose another port" in words
        assert "Traceback" not in words


async def test_a_wrong_setting_is_told_before_anything_starts() -> None:
    status, words = await ended(taks=1)
    assert status == 2 and "LINKLEARNER_MODEL_SERVER_TAKS is no setting" in words and "Traceback" not in words


async def test_an_open_gate_is_one_setting_at_a_loopback_address_and_refused_at_any_other(
    gateway: FakeGateway,
) -> None:
    status, words = await ended(admission="open", listen="0.0.0.0:0")
    assert status == 2 and "so listen must be a loopback address" in words and "Traceback" not in words
    async with process(gateway=gateway.address, admission="open") as (_, address, _):  # type: ignore[attr-defined]
        assert await ask(address, None) == 1


async def test_a_server_waits_for_a_gateway_that_is_not_there_yet(
    start: Callable[..., Any], caller: LocalAccount, gateway: FakeGateway
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server: ModelServer = await start(gateway=address, ready=False)
    with pytest.raises(Unavailable, match="stakes cannot be read just now"):
        async with InferenceClient(server.address, caller):
            pass
    async with gateway.served(address):
        assert await ask(server.address, caller) == 1


async def test_two_servers_live_in_one_process(start: Callable[..., Any], caller: LocalAccount) -> None:
    one, two = await start(), await start()
    assert one.address != two.address and one.metrics_address != two.metrics_address
    assert await ask(one.address, caller) == await ask(two.address, caller) == 1


def test_every_setting_comes_from_the_environment() -> None:
    given = {
        ModelServerConfig.PREFIX + "GATEWAY": "gateway:1",
        ModelServerConfig.PREFIX + "TASK": "7",
        ModelServerConfig.PREFIX + "STAKE_STALE_S": "20.5",
        "LINKLEARNER_OTHER": "x",
    }
    assert ModelServerConfig.from_environment(given) == ModelServerConfig(
        gateway="gateway:1", task=7, admission=StakeSettings(stake_stale_s=20.5)
    )
    assert ModelServerConfig.from_environment({}) == ModelServerConfig()


@pytest.mark.parametrize(
    ("kind", "name", "low", "high"),
    [
        (ModelServerConfig, "task", 1, 2**64 - 1),
        (StakeSettings, "required_units", 0, 2**64 - 1),
        (StakeSettings, "challenge_s", 120, 300),
        (StakeSettings, "session_s", 600, 900),
        (StakeSettings, "stake_stale_s", 2.1, 300),
        (ModelServerConfig, "keep_previous_s", 0, 3600),
        (ModelServerConfig, "max_rows", 1, 65536),
    ],
)
def test_settings_are_bounded_on_both_sides(kind: Any, name: str, low: Any, high: Any) -> None:
    for value in (low, high):
        assert getattr(kind(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(InvalidConfig, match=name):
            kind(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "50061"},
        {"listen": ":50061"},
        {"gateway": "host:port"},
        {"metrics_listen": "127.0.0.1:65536"},
        {"domain": "a b"},
        {"log_level": "loud"},
        {"stake_refresh_s": 5.0, "stake_stale_s": 5.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        (ModelServerConfig if wrong.keys() <= {field.name for field in fields(ModelServerConfig)} else StakeSettings)(
            **wrong
        )
    given = {ModelServerConfig.PREFIX + name.upper(): str(value) for name, value in wrong.items()}
    with pytest.raises(InvalidConfig):
        ModelServerConfig.from_environment(given)
