"""Who gets an inference: those who proved an address with enough locked, for as long as that is so."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from linklearner.client.inference import InferenceClient
from linklearner.domain.errors import (
    InvalidConfig,
    InvalidInput,
    LinkLearnerError,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    UntrustedChallenge,
)
from linklearner.domain.sign_in import SignIn, check
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.testing.gateway import CHAIN_ID, STAKE, FakeGateway, weights_of
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.admission.stake import StakeSettings
from services.model_server.server import ModelServer
from tests.services.model_server.conftest import QUICK_STAKE, address_of, eventually, sessions_at, sign, token_for

PIXELS = np.zeros((1, 64), np.float32)


class Asking(InferenceClient):
    """A caller with the token it is given."""

    def __init__(self, address: str, token: str | None) -> None:
        super().__init__(address, None)
        self.token = token


async def ask(server: ModelServer, token: str | None) -> int:
    """The version that answered."""
    async with Asking(server.address, token) as client:
        return (await client.infer("digits", PIXELS, input_name="pixels")).version


async def refusal(call: Any) -> LinkLearnerError:
    """What a call was refused with."""
    try:
        await call
    except grpc.RpcError as error:
        return from_rpc_error(error)
    except LinkLearnerError as error:
        return error
    raise AssertionError("the call was not refused")


async def challenge(stub: session_grpc.SessionServiceStub, account: LocalAccount) -> str:
    answer = await stub.CreateChallenge(session.CreateChallengeRequest(address=address_of(account)))
    return str(answer.message)


def opening(message: str, signature: bytes) -> session.OpenSessionRequest:
    return session.OpenSessionRequest(message=message, signature=signature)


async def test_a_signed_challenge_opens_a_session_that_is_served(server: ModelServer, caller: LocalAccount) -> None:
    async with sessions_at(server.address) as stub:
        asked = await stub.CreateChallenge(session.CreateChallengeRequest(address=address_of(caller)))
        opened = await stub.OpenSession(opening(asked.message, sign(caller, asked.message)))
    text = SignIn.parse(asked.message)
    assert (text.domain, text.chain_id, text.address) == (server.address, CHAIN_ID, address_of(caller))
    assert text.uri == f"grpc://{server.address}/inference.GRPCInferenceService"
    assert text.expires_s == asked.expires_s and 120 <= asked.expires_s - time.time() <= 300
    assert 600 <= opened.expires_s - time.time() <= 900
    assert (opened.locked_units, opened.required_units) == (1000, 1000)
    assert await ask(server, opened.token) == 1


async def test_no_token_and_a_wrong_token_are_unauthenticated(server: ModelServer, caller: LocalAccount) -> None:
    good = await token_for(caller, server.address)
    assert (await refusal(ask(server, None))).reason == "NoToken"
    for token in ("x", good[:-1], good + "A", ""):
        error = await refusal(ask(server, token))
        assert isinstance(error, Unauthenticated), token
    async with channel(server.address) as wire:
        for value in (good, f"Basic {good}", f"Bearer{good}"):
            call = wire.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            assert isinstance(await refusal(call(b"", metadata=(("authorization", value),))), Unauthenticated), value


async def test_a_closed_session_opens_nothing_and_closing_twice_is_harmless(
    server: ModelServer, caller: LocalAccount
) -> None:
    token, other = await token_for(caller, server.address), await token_for(caller, server.address)
    assert await ask(server, token) == 1
    async with sessions_at(server.address) as stub:
        for _ in range(2):
            await stub.CloseSession(session.CloseSessionRequest(token=token))
    assert (await refusal(ask(server, token))).reason == "UnknownToken"
    assert await ask(server, other) == 1


async def test_a_challenge_cannot_be_used_twice(server: ModelServer, caller: LocalAccount) -> None:
    async with sessions_at(server.address) as stub:
        message = await challenge(stub, caller)
        await stub.OpenSession(opening(message, sign(caller, message)))
        error = await refusal(stub.OpenSession(opening(message, sign(caller, message))))
    assert (type(error), error.reason) == (Unauthenticated, "UnknownChallenge")


async def test_another_key_cannot_answer_a_challenge(server: ModelServer, caller: LocalAccount) -> None:
    async with sessions_at(server.address) as stub:
        message = await challenge(stub, caller)
        error = await refusal(stub.OpenSession(opening(message, sign(Account.create(), message))))
        assert (type(error), error.reason) == (Unauthenticated, "WrongSigner")
        # Whoever saw the text on its way took nothing from its owner.
        assert (await stub.OpenSession(opening(message, sign(caller, message)))).token


async def test_an_altered_text_is_refused_even_if_it_is_signed(server: ModelServer, caller: LocalAccount) -> None:
    stranger: LocalAccount = Account.create()
    async with sessions_at(server.address) as stub:
        for old, new in (
            (f"Chain ID: {CHAIN_ID}", "Chain ID: 1"),
            (server.address, "evil.example:1"),
            (stranger.address, caller.address),
            ("This signature costs nothing", "This signature costs something"),
        ):
            message = await challenge(stub, stranger)
            altered = message.replace(old, new)
            assert altered != message
            error = await refusal(stub.OpenSession(opening(altered, sign(caller, altered))))
            assert (type(error), error.reason) == (Unauthenticated, "AlteredChallenge"), old


async def test_a_challenge_of_one_server_opens_nothing_at_another(
    start: Callable[..., Any], caller: LocalAccount
) -> None:
    one, two = await start(), await start()
    async with sessions_at(one.address) as first, sessions_at(two.address) as second:
        message = await challenge(first, caller)
        error = await refusal(second.OpenSession(opening(message, sign(caller, message))))
    assert (type(error), error.reason) == (Unauthenticated, "AlteredChallenge")


async def test_the_domain_is_the_one_that_callers_know(start: Callable[..., Any], caller: LocalAccount) -> None:
    server = await start(domain="models.example:443")
    async with sessions_at(server.address) as stub:
        assert SignIn.parse(await challenge(stub, caller)).domain == "models.example:443"


async def test_a_malformed_address_or_signature_says_what_is_expected(
    server: ModelServer, caller: LocalAccount
) -> None:
    async with sessions_at(server.address) as stub:
        error = await refusal(stub.CreateChallenge(session.CreateChallengeRequest(address=bytes(19))))
        assert (type(error), str(error)) == (InvalidInput, "an address has 20 bytes, not 19")
        message = await challenge(stub, caller)
        error = await refusal(stub.OpenSession(opening(message, b"x")))
        assert (type(error), error.reason) == (Unauthenticated, "MalformedSignature")


@pytest.mark.parametrize(("units", "enough"), [(0, False), (999, False), (1000, True), (MAX_ELIGIBLE - STAKE, True)])
async def test_exactly_the_required_stake_is_enough(
    server: ModelServer, gateway: FakeGateway, units: int, enough: bool
) -> None:
    account: LocalAccount = Account.create()
    gateway.set_stake(address_of(account), units)
    if enough:
        assert await ask(server, await token_for(account, server.address)) == 1
        return
    error = await refusal(token_for(account, server.address))
    assert (type(error), error.reason) == (PermissionDenied, "NotEnoughLocked")
    assert error.facts == {"locked_units": str(units), "required_units": "1000", "task": "1"}


async def test_with_nothing_required_any_address_is_served(start: Callable[..., Any]) -> None:
    server = await start(required_units=0)
    assert await ask(server, await token_for(Account.create(), server.address)) == 1


async def test_an_unlock_stops_service_within_the_refresh_time_and_a_lock_resumes_it(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    server = await start(stake_stale_s=10)  # so it is the refresh that stops it
    token = await token_for(caller, server.address)
    assert await ask(server, token) == 1
    gateway.set_stake(address_of(caller), 999)
    unlocked = time.monotonic()
    async with asyncio.timeout(5), Asking(server.address, token) as client:
        with pytest.raises(PermissionDenied) as caught:
            while True:
                await client.infer("digits", PIXELS, input_name="pixels")
    assert time.monotonic() - unlocked < QUICK_STAKE.stake_refresh_s + 2  # a round trip on a busy machine
    assert caught.value.facts == {"locked_units": "999", "required_units": "1000", "task": "1"}
    gateway.set_stake(address_of(caller), 1000)
    await asyncio.sleep(4 * QUICK_STAKE.stake_refresh_s)
    async with asyncio.timeout(5):
        while isinstance(await _outcome(server, token), PermissionDenied):
            await asyncio.sleep(0.02)
    assert await ask(server, token) == 1


async def _outcome(server: ModelServer, token: str) -> LinkLearnerError | int:
    try:
        return await ask(server, token)
    except LinkLearnerError as error:
        return error


async def test_stakes_are_read_again_only_when_the_chain_moves(
    server: ModelServer, gateway: FakeGateway, caller: LocalAccount
) -> None:
    token = await token_for(caller, server.address)
    before = gateway.balance_reads
    async with Asking(server.address, token) as client:
        until = time.monotonic() + 2 * QUICK_STAKE.stake_stale_s
        while time.monotonic() < until:
            await client.infer("digits", PIXELS, input_name="pixels")
    assert gateway.balance_reads == before
    gateway.set_stake(bytes(20), 1)
    await ask(server, token)
    await eventually(lambda: gateway.balance_reads == before + 1, 2)


async def test_an_idle_session_costs_nothing_and_is_read_again_when_it_asks(
    server: ModelServer, gateway: FakeGateway, caller: LocalAccount
) -> None:
    token = await token_for(caller, server.address)
    await asyncio.sleep(1.5 * QUICK_STAKE.stake_stale_s)
    before = gateway.balance_reads
    gateway.set_stake(address_of(caller), 999)
    await asyncio.sleep(QUICK_STAKE.stake_stale_s)
    assert gateway.balance_reads == before
    assert isinstance(await refusal(ask(server, token)), PermissionDenied)
    assert gateway.balance_reads == before + 1


async def test_many_calls_of_an_idle_session_share_one_read(
    server: ModelServer, gateway: FakeGateway, caller: LocalAccount
) -> None:
    token = await token_for(caller, server.address)
    await asyncio.sleep(2.5 * QUICK_STAKE.stake_stale_s)
    before = gateway.balance_reads
    async with Asking(server.address, token) as client:
        await asyncio.gather(*(client.infer("digits", PIXELS, input_name="pixels") for _ in range(20)))
    assert gateway.balance_reads == before + 1


@pytest.mark.parametrize("how", ["hangs", "vanishes"])
async def test_without_the_gateway_the_gate_closes_within_its_time_and_says_why(
    start: Callable[..., Any], how: str
) -> None:
    chain = FakeGateway()
    chain.publish(weights_of(0))
    account: LocalAccount = Account.create()
    chain.set_stake(address_of(account), 1000)
    async with chain.served() as address:
        server = await start(gateway=address)
        token = await token_for(account, server.address)
        assert await ask(server, token) == 1
        if how == "hangs":
            chain.hanging = True
            await _closes(server, token)
            chain.hanging = False
            await _opens(server, token)
    if how == "vanishes":
        await _closes(server, token)
        async with chain.served(address):
            await _opens(server, token)


async def _closes(server: ModelServer, token: str) -> None:
    began = time.monotonic()
    async with asyncio.timeout(10):
        while not isinstance(error := await _outcome(server, token), Unavailable):
            await asyncio.sleep(0.02)
    # a hanging read is given up after READ_TIMEOUT_S, so a call that waited for one may come that much later
    assert time.monotonic() - began < QUICK_STAKE.stake_stale_s + 2.0 + 2.0
    assert str(error).startswith("stakes cannot be read just now, so nobody is let in: ")


async def _opens(server: ModelServer, token: str) -> None:
    async with asyncio.timeout(10):
        while await _outcome(server, token) != 1:
            await asyncio.sleep(0.05)


async def test_a_chain_that_stands_still_closes_the_gate_if_that_is_asked_for(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    strict, patient = await start(head_stale_s=30), await start()
    tokens = [await token_for(caller, server.address) for server in (strict, patient)]
    gateway.head_time_s = int(time.time()) - 25
    await asyncio.sleep(2 * QUICK_STAKE.stake_stale_s)
    assert await ask(strict, tokens[0]) == 1
    gateway.head_time_s = int(time.time()) - 40
    await asyncio.sleep(2 * QUICK_STAKE.stake_stale_s)
    error = await refusal(ask(strict, tokens[0]))
    assert (type(error), error.reason) == (Unavailable, "HeadStale")
    assert "more than the 30 s allowed" in str(error)
    assert await ask(patient, tokens[1]) == 1


async def test_a_gateway_that_goes_back_in_time_is_not_believed(
    server: ModelServer, gateway: FakeGateway, caller: LocalAccount
) -> None:
    gateway.block = 100
    token = await token_for(caller, server.address)
    await asyncio.sleep(2 * QUICK_STAKE.stake_refresh_s)
    gateway.block = 50
    await asyncio.sleep(2 * QUICK_STAKE.stake_stale_s)
    error = await refusal(ask(server, token))
    assert (type(error), error.reason) == (Unavailable, "HeadWentBack")
    assert "block 50, but block 100 has been seen" in str(error)
    gateway.block = 100
    await asyncio.sleep(2 * QUICK_STAKE.stake_refresh_s)
    assert await ask(server, token) == 1


async def test_a_gateway_of_another_chain_is_not_believed(
    server: ModelServer, gateway: FakeGateway, caller: LocalAccount
) -> None:
    token = await token_for(caller, server.address)
    gateway.chain_id = 1
    await asyncio.sleep(2 * QUICK_STAKE.stake_stale_s)
    error = await refusal(ask(server, token))
    assert (type(error), error.reason) == (Unavailable, "OtherChain")


async def test_the_ninth_session_of_an_address_ends_its_idlest_and_no_other(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    server = await start(max_sessions_per_address=2)
    other: LocalAccount = Account.create()
    gateway.set_stake(address_of(other), 1000)
    elsewhere = await token_for(other, server.address)
    first, second = await token_for(caller, server.address), await token_for(caller, server.address)
    assert await ask(server, first) == 1  # so the second has been idle longer
    third = await token_for(caller, server.address)
    assert (await refusal(ask(server, second))).reason == "UnknownToken"
    assert [await ask(server, token) for token in (first, third, elsewhere)] == [1, 1, 1]


async def test_a_full_server_lets_a_newcomer_in_at_the_cost_of_whoever_has_the_most(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    server = await start(max_sessions=4)
    hoarder: LocalAccount = Account.create()
    gateway.set_stake(address_of(hoarder), 1000)
    hoard = [await token_for(hoarder, server.address) for _ in range(4)]
    mine = await token_for(caller, server.address)
    assert (await refusal(ask(server, hoard[0]))).reason == "UnknownToken"
    hoard.append(await token_for(hoarder, server.address))
    assert (await refusal(ask(server, hoard[1]))).reason == "UnknownToken"
    assert await ask(server, mine) == 1


async def test_asking_for_challenges_locks_nobody_out(server: ModelServer, caller: LocalAccount) -> None:
    """64 unanswered ones used to shut a whole network out for three minutes."""
    async with sessions_at(server.address) as stub:
        asked = (challenge(stub, Account.create()) for _ in range(300))
        answers = await asyncio.gather(*asked, return_exceptions=True)
    # whose message had not come when too many others were on their way gave its place up: how many those are, the scheduler says
    gave_way = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {answer.code() for answer in gave_way} <= {grpc.StatusCode.RESOURCE_EXHAUSTED} and len(gave_way) < 300
    assert all(isinstance(answer, str | grpc.aio.AioRpcError) for answer in answers)
    assert await ask(server, await token_for(caller, server.address)) == 1


async def test_one_challenge_opens_one_session_even_in_a_race(server: ModelServer, caller: LocalAccount) -> None:
    async with sessions_at(server.address) as stub:
        message = await challenge(stub, caller)
        request = opening(message, sign(caller, message))
        opened = await asyncio.gather(*(stub.OpenSession(request) for _ in range(8)), return_exceptions=True)
    tokens = [answer for answer in opened if isinstance(answer, session.OpenSessionResponse)]
    assert len(tokens) == 1


async def test_the_terms_say_what_an_inference_takes(start: Callable[..., Any]) -> None:
    server = await start(max_rows=8)
    async with sessions_at(server.address) as stub:
        terms = await stub.GetTerms(session.GetTermsRequest())
    assert (terms.task, terms.model, terms.input_name, terms.input_count) == (1, "digits", "pixels", 64)
    assert (terms.input_min, terms.input_max, list(terms.labels)) == (0, 16, list("0123456789"))
    assert (terms.max_rows, terms.max_request_bytes, terms.required_units) == (8, 4 << 20, 1000)


async def test_no_token_and_no_signature_reaches_the_log(
    server: ModelServer, caller: LocalAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sessions_at(server.address) as stub:
        message = await challenge(stub, caller)
        signature = sign(caller, message)
        opened = await stub.OpenSession(opening(message, signature))
    await ask(server, opened.token)
    await refusal(ask(server, opened.token + "x"))
    printed = "".join(capsys.readouterr())
    assert "OpenSession" in printed
    for secret in (opened.token, signature.hex(), SignIn.parse(message).nonce):
        assert secret not in printed
    assert "ModelInfer" in printed  # the refusal, once
    assert printed.count("ModelInfer") == 1


PAGE = "http://localhost:8780"


async def test_a_visitor_of_a_page_signs_in_for_that_page(start: Callable[..., Any], caller: LocalAccount) -> None:
    server = await start(origins=f"https://learn.example, {PAGE}")
    async with sessions_at(server.address) as stub:
        asked = await stub.CreateChallenge(
            session.CreateChallengeRequest(address=address_of(caller), nonce=b"\1" * 16, origin=PAGE)
        )
        opened = await stub.OpenSession(opening(asked.message, sign(caller, asked.message)))
    text = SignIn.parse(asked.message)
    assert (text.domain, text.uri) == ("localhost:8780", f"{PAGE}/inference.GRPCInferenceService")
    assert await ask(server, opened.token) == 1
    # what a page's visitor signs is nothing that a program signs, even at the same host and port
    with pytest.raises(UntrustedChallenge):
        check(
            asked.message, domain="localhost:8780", address=address_of(caller), nonce=b"\1" * 16, wall_s=time.time(),
            chain_id=None, task=None,
        )  # fmt: skip


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{PAGE}/", "HTTP://localhost:8780", "localhost:8780", "null"]
)
async def test_a_page_that_the_server_was_not_told_of_signs_nobody_in(
    start: Callable[..., Any], caller: LocalAccount, origin: str
) -> None:
    server = await start(origins=PAGE)
    async with sessions_at(server.address) as stub:
        request = session.CreateChallengeRequest(address=address_of(caller), origin=origin)
        error = await refusal(stub.CreateChallenge(request))
    assert isinstance(error, PermissionDenied) and error.reason == "UnknownOrigin"


async def test_without_pages_in_the_settings_no_page_signs_in(server: ModelServer, caller: LocalAccount) -> None:
    async with sessions_at(server.address) as stub:
        request = session.CreateChallengeRequest(address=address_of(caller), origin=PAGE)
        assert (await refusal(stub.CreateChallenge(request))).reason == "UnknownOrigin"


@pytest.mark.parametrize("origins", ["*", "localhost:8780", "http://localhost:80", "https://a.example/", "http://a b"])
def test_an_origin_in_the_settings_is_written_as_browsers_write_it(origins: str) -> None:
    with pytest.raises(InvalidConfig, match=r"origins: .* is not an origin"):
        StakeSettings(origins=origins)
