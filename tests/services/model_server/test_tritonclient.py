"""An off-the-shelf Open Inference Protocol client works unchanged; the session is one header."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account.signers.local import LocalAccount

from linklearner.domain.digest import model_digest
from linklearner.domain.digits import SHAPE
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import session_pb2 as session
from services.model_server.server import ModelServer
from tests.services.model_server.conftest import QUICK_STAKE, address_of, sessions_at, token_for
from tests.services.model_server.test_model_versions import model_of

PROGRAM = Path(__file__).with_name("tritonclient_call.py")
PIXELS = np.random.default_rng(3).integers(0, 17, (5, 64)).astype("<f4")


async def tritonclient(server: ModelServer, token: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), server.address, token, stdin=-1, stdout=-1, stderr=-1
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(PIXELS.tobytes())
    assert process.returncode == 0, err.decode()
    answer: dict[str, Any] = json.loads(out)
    return answer


async def test_tritonclient_with_a_session_gets_the_models_answers(server: ModelServer, caller: LocalAccount) -> None:
    answer = await tritonclient(server, await token_for(caller, server.address))
    model = model_of(1, 0)
    expected = model.run({"pixels": PIXELS})["logits"]
    assert answer["status"] == "OK", answer
    assert np.array_equal(np.array(answer["logits"], np.float32), expected)
    assert answer["label"] == answer["label_alone"] == expected.argmax(axis=1).tolist()
    assert answer["logits_alone"] is None
    assert (answer["id"], answer["version"]) == ("7", "1")
    assert answer["digest"] == f"0x{model_digest(weights_of(0), SHAPE).hex()}"
    assert (answer["live"], answer["ready"], answer["model_ready"], answer["other_ready"]) == (True, True, True, False)
    assert answer["server"]["name"] == "linklearner"
    assert [tensor["name"] for tensor in answer["metadata"]["outputs"]] == ["logits", "label"]


@pytest.mark.parametrize("case", ["none", "unknown", "closed", "unlocked"])
async def test_tritonclient_without_access_gets_the_right_status(
    server: ModelServer, gateway: FakeGateway, caller: LocalAccount, case: str
) -> None:
    token = {"none": "-", "unknown": "A" * 43}.get(case) or await token_for(caller, server.address)
    if case == "closed":
        async with sessions_at(server.address) as stub:
            await stub.CloseSession(session.CloseSessionRequest(token=token))
    if case == "unlocked":
        gateway.set_stake(address_of(caller), 1)
        await asyncio.sleep(
            1.5 * QUICK_STAKE.stake_stale_s
        )  # no stake that old opens the gate, however busy the machine
    answer = await tritonclient(server, token)
    assert answer["ready"] and answer["model_ready"]  # health and metadata are for everybody
    expected = "StatusCode.PERMISSION_DENIED" if case == "unlocked" else "StatusCode.UNAUTHENTICATED"
    assert answer["status"] == expected
    assert ("$LL locked in task 1" if case == "unlocked" else "OpenSession") in answer["message"]
