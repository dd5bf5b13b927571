"""A caller of gated inference: prove an address once, then ask.

    async with InferenceClient("127.0.0.1:9000", LocalAccount) as client:
        answer = await client.infer("digits", pixels)        # (B, inputs) float32

Off-the-shelf Open Inference Protocol clients do the same with the header `authorization: Bearer <client.token>`.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from numpy.typing import NDArray

from linklearner.domain.errors import DataLoss
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc


@dataclass(frozen=True)
class Answer:
    """What a model server answered, and by which weights."""

    logits: NDArray[np.float32]
    """(B, labels)."""
    labels: NDArray[np.int64]
    """(B,), the index of the greatest logit."""
    version: int
    """Version of the weights on the chain."""
    digest: bytes
    """32 bytes: the digest that the chain announced for that version."""


class InferenceClient:
    """One session at one model server. Raises the error tree: Unauthenticated, PermissionDenied, Unavailable, …

    account: signs the server's challenge; None asks without a session.
    """

    def __init__(self, address: str, account: LocalAccount | None) -> None:
        self._address = address
        self._account = account
        self.token: str | None = None
        self.expires_s = 0
        self.locked_units = 0
        self.required_units = 0

    async def __aenter__(self) -> Self:
        self._channel = channel(self._address)
        if self._account is not None:
            try:
                await self._open(self._account)
            except grpc.RpcError as error:
                await self._channel.close(None)
                raise from_rpc_error(error) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    async def _open(self, account: LocalAccount) -> None:
        sessions = session_grpc.SessionServiceStub(self._channel)
        challenge = await sessions.CreateChallenge(
            session.CreateChallengeRequest(address=bytes.fromhex(account.address.removeprefix("0x")))
        )
        signed = account.sign_message(encode_defunct(text=challenge.message))
        opened = await sessions.OpenSession(
            session.OpenSessionRequest(message=challenge.message, signature=bytes(signed.signature))
        )
        self.token, self.expires_s = opened.token, opened.expires_s
        self.locked_units, self.required_units = opened.locked_units, opened.required_units

    async def infer(self, model: str, inputs: NDArray[np.float32], *, input_name: str | None = None) -> Answer:
        """inputs: (B, n) float32, unscaled. Raises DataLoss for an answer that does not name its weights."""
        stub = oip_grpc.GRPCInferenceServiceStub(self._channel)
        metadata = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        values = np.ascontiguousarray(inputs, dtype="<f4")
        try:
            if input_name is None:
                described = await stub.ModelMetadata(oip.ModelMetadataRequest(name=model))
                input_name = described.inputs[0].name
            answer = await stub.ModelInfer(
                oip.ModelInferRequest(
                    model_name=model,
                    inputs=[
                        oip.ModelInferRequest.InferInputTensor(name=input_name, datatype="FP32", shape=values.shape)
                    ],
                    raw_input_contents=[values.tobytes()],
                ),
                metadata=metadata,
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return _answer(answer)


def _answer(response: Any) -> Answer:
    outputs = {
        tensor.name: (list(tensor.shape), raw)
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    try:
        shape, raw = outputs["logits"]
        logits = np.frombuffer(raw, "<f4").reshape(shape)
        digest = bytes.fromhex(response.parameters["digest"].string_param.removeprefix("0x"))
        version = int(response.model_version)
    except (KeyError, ValueError) as error:
        raise DataLoss(f"the server's answer does not say which weights gave it: {error}") from error
    return Answer(logits=logits, labels=logits.argmax(axis=1), version=version, digest=digest)
