"""Twenty versions go live while sixteen callers ask: no error, no wrong answer, nothing stale."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from eth_account.signers.local import LocalAccount

from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.testing.gateway import FakeGateway, weights_of
from tests.services.model_server.conftest import eventually, token_for
from tests.services.model_server.test_model_versions import model_of

CALLERS, CONNECTIONS, SWAPS = 16, 4, 20


async def test_swaps_under_load_cost_no_caller_anything(
    start: Callable[..., Any], gateway: FakeGateway, caller: LocalAccount
) -> None:
    server = await start()
    rng = np.random.default_rng(1)
    questions = [rng.integers(0, 17, (1, 64)).astype("<f4") for _ in range(CALLERS)]
    requests = [
        oip.ModelInferRequest(
            model_name="digits",
            inputs=[oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="FP32", shape=[1, 64])],
            raw_input_contents=[question.tobytes()],
        )
        for question in questions
    ]
    models = {number: model_of(number, number - 1) for number in range(1, SWAPS + 2)}
    right = {
        (number, index): models[number].run({"pixels": question})["logits"].tobytes()
        for number in models
        for index, question in enumerate(questions)
    }
    digests = {number: f"0x{model.version.digest.hex()}" for number, model in models.items()}
    metadata = (("authorization", f"Bearer {await token_for(caller, server.address)}"),)
    newest_seen = [0] * CONNECTIONS
    answered = dict.fromkeys(models, 0)
    wrong, stale, done = [], [], asyncio.Event()

    async def ask(index: int, stub: oip_grpc.GRPCInferenceServiceStub) -> None:
        connection = index % CONNECTIONS
        while not done.is_set():
            seen = newest_seen[connection]
            answer = await stub.ModelInfer(requests[index], metadata=metadata, timeout=5)  # an error ends the test
            version = int(answer.model_version)
            answered[version] += 1
            if version < seen:
                stale.append((version, seen))
            newest_seen[connection] = max(newest_seen[connection], version)
            if (
                answer.raw_output_contents[0] != right[version, index]
                or answer.parameters["digest"].string_param != digests[version]
            ):
                wrong.append(version)

    async def swap() -> None:
        for number in range(2, SWAPS + 2):
            await asyncio.sleep(0.05)
            gateway.publish(weights_of(number - 1))
            await eventually(lambda number=number: server.loaded.live.version.version == number)
        await asyncio.sleep(0.1)
        done.set()

    apart = (("grpc.use_local_subchannel_pool", 1),)  # otherwise channels to one address share a connection
    wires = [grpc.aio.insecure_channel(server.address, options=apart) for _ in range(CONNECTIONS)]
    stubs = [oip_grpc.GRPCInferenceServiceStub(wire) for wire in wires]
    try:
        await asyncio.gather(swap(), *(ask(index, stubs[index % CONNECTIONS]) for index in range(CALLERS)))
    finally:
        for wire in wires:
            await wire.close()
    assert (wrong, stale) == ([], [])
    assert newest_seen == [SWAPS + 1] * CONNECTIONS
    assert sum(1 for count in answered.values() if count) > SWAPS / 2, answered
