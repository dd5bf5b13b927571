"""A caller of gated inference: prove an address once, then ask.

    async with InferenceClient("127.0.0.1:9000", account, chain_id=11820) as client:
        answer = await client.infer("digits", pixels)        # (B, …) float32

Off-the-shelf Open Inference Protocol clients do the same with the header `authorization: Bearer <client.token>`.

The server is whoever answers at that address. What it can make a caller sign is a sign-in to that very address, now (see
`linklearner.domain.sign_in`); what it can send is bounded, and an answer that does not fit the question is DataLoss.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from numpy.typing import NDArray

from linklearner.domain import sign_in
from linklearner.domain.errors import DataLoss, LinkLearnerError, TimedOut, Unauthenticated
from linklearner.domain.inputs import arranged, check_rows
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.channel import channel
from linklearner.rpc.status import rpc_errors
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc

MAX_ANSWER_BYTES = 16 << 20
CALL_S = 30.0
"""Seconds for one call."""
LOOK_S = 0.05
"""Seconds between two looks at a server that is to reach a version."""
CLOSE_S = 2.0
"""Seconds for the farewell; a session that could not be closed ends by itself."""


@dataclass(frozen=True)
class Answer:
    """What a model server answered, and by which weights."""

    logits: NDArray[np.float32]
    """(B, labels)."""
    labels: NDArray[np.int64]
    """(B,), the index of the greatest logit."""
    version: int
    """Version of the weights on the chain; one for all rows."""
    digest: bytes
    """32 bytes: the digest that the chain announced for that version."""


class InferenceClient:
    """One session at one model server, closed at the end. Raises the error tree: Unauthenticated, PermissionDenied, Unavailable, …

    address: host:port; the server's sign-in text must name exactly this, or `domain` if the server is reached through a tunnel and calls
    itself otherwise. account: signs the sign-in; None asks without a session. chain_id, task: what the text must name; None takes
    whichever the server serves.
    """

    def __init__(
        self,
        address: str,
        account: LocalAccount | None,
        *,
        chain_id: int | None = None,
        task: int | None = None,
        domain: str | None = None,
    ) -> None:
        self._address = address
        self._account = account
        self._chain_id = chain_id
        self._task = task
        self._domain = domain or address
        self._opening = asyncio.Lock()
        self._terms: session.GetTermsResponse | None = None
        self.token: str | None = None
        self.expires_s = 0
        self.locked_units = 0
        self.required_units = 0

    async def __aenter__(self) -> Self:
        self._channel = channel(self._address, receive_bytes=MAX_ANSWER_BYTES)
        self._sessions = session_grpc.SessionServiceStub(self._channel)
        self._inference = oip_grpc.GRPCInferenceServiceStub(self._channel)
        if self._account is not None:
            try:
                await self._open(self._account)
            except BaseException:
                await self._channel.close(None)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._account is not None and self.token is not None:
                with contextlib.suppress(grpc.RpcError):
                    await self._sessions.CloseSession(session.CloseSessionRequest(token=self.token), timeout=CLOSE_S)
        finally:
            self.token = None
            await self._channel.close(None)

    async def _open(self, account: LocalAccount) -> None:
        address, nonce = bytes.fromhex(account.address.removeprefix("0x")), secrets.token_bytes(sign_in.NONCE_BYTES)
        challenge = await _call(
            self._sessions.CreateChallenge, session.CreateChallengeRequest(address=address, nonce=nonce)
        )
        sign_in.check(
            challenge.message,
            domain=self._domain,
            address=address,
            nonce=nonce,
            wall_s=time.time(),
            chain_id=self._chain_id,
            task=self._task,
        )
        signed = account.sign_message(encode_defunct(text=challenge.message))
        opened = await _call(
            self._sessions.OpenSession,
            session.OpenSessionRequest(message=challenge.message, signature=bytes(signed.signature)),
        )
        self.token, self.expires_s = opened.token, opened.expires_s
        self.locked_units, self.required_units = opened.locked_units, opened.required_units

    async def ready(self, model: str, version: int = 0) -> bool:
        """Whether the server would answer for this version of a model now; 0: for any."""
        request = oip.ModelReadyRequest(name=model, version=str(version) if version else "")
        return bool((await _call(self._inference.ModelReady, request)).ready)

    async def served(self, model: str, version: int, *, within_s: float) -> None:
        """Waits until the server answers for a version. Raises TimedOut if it does not get there."""
        try:
            async with asyncio.timeout(within_s):
                while not await self.ready(model, version):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise TimedOut(
                f"the model server at {self._address} did not reach version {version} in {within_s:.0f} s"
            ) from None

    async def _terms_of_server(self) -> session.GetTermsResponse:
        """What the server takes: input range, rows at once, stake. Asked once."""
        if self._terms is None:
            self._terms = await _call(self._sessions.GetTerms, session.GetTermsRequest())
        return self._terms

    async def infer(
        self, model: str, inputs: NDArray[np.float32], *, input_name: str | None = None, allow_range: bool = False
    ) -> Answer:
        """inputs: (B, …) float32, unscaled; more rows than the server takes at once go in several calls, answered by one version.

        Without an input_name the server is asked for the name and dimensions of its input, and the rows are arranged in these.
        allow_range: ask even for inputs far outside of the range that the task was made for. Raises NotFinite and OutOfRange, which name
        the row, before anything is sent, and DataLoss for an answer that does not fit.
        """
        values = np.ascontiguousarray(inputs, dtype="<f4")
        rows = max(len(values), 1)
        input_range = None
        if input_name is None or rows > 1:
            terms = await self._terms_of_server()
            if terms.model == model:
                rows = min(rows, terms.max_rows or rows)
                input_range = (terms.input_min, terms.input_max) if terms.input_min < terms.input_max else None
            if input_name is None:
                described = await _call(self._inference.ModelMetadata, oip.ModelMetadataRequest(name=model))
                if len(described.inputs) != 1:
                    raise DataLoss(f"model '{model:.100}' has {len(described.inputs)} inputs; one was expected")
                input_name, shape = str(described.inputs[0].name), tuple(described.inputs[0].shape)
                if len(shape) < 2 or min(shape[1:]) < 1:
                    raise DataLoss(
                        f"model '{model:.100}' has an input of the shape {list(shape)!s:.100}: rows have dimensions"
                    )
                values = arranged(values, shape[1:], f"model '{model:.100}'")
        if values.ndim >= 2:
            check_rows(values, name=input_name, input_range=input_range, allow_range=allow_range)
        parts: list[Answer] = []
        for start in range(0, max(len(values), 1), rows):
            version = str(parts[0].version) if parts else ""
            parts.append(await self._ask(model, version, input_name, values[start : start + rows], start, allow_range))
            if (parts[-1].version, parts[-1].digest) != (parts[0].version, parts[0].digest):
                raise DataLoss("the server answered one batch by several versions of the weights")
        logits = np.concatenate([part.logits for part in parts])
        return Answer(logits=logits, labels=logits.argmax(axis=1), version=parts[0].version, digest=parts[0].digest)

    async def _ask(
        self, model: str, version: str, input_name: str, values: NDArray[np.float32], start: int, allow_range: bool
    ) -> Answer:
        request = oip.ModelInferRequest(
            model_name=model,
            model_version=version,
            inputs=[oip.ModelInferRequest.InferInputTensor(name=input_name, datatype="FP32", shape=values.shape)],
            raw_input_contents=[values.tobytes()],
        )
        if allow_range:
            request.parameters["allow_range"].bool_param = True
        token = self.token
        try:
            try:
                answer = await self._infer(request)
            except Unauthenticated:
                if self._account is None or token is None:
                    raise
                async with self._opening:
                    if self.token == token:  # it has ended, by age or because others of this address were opened
                        await self._open(self._account)
                answer = await self._infer(request)
        except LinkLearnerError as error:
            if start and error.facts.get("row", "").isdecimal():
                row = start + int(error.facts["row"])
                raise type(error)(
                    f"{error.message} (row {row} of the whole)", reason=error.reason, facts={**error.facts, "row": row}
                ) from error
            raise
        return _answer(answer, len(values))

    async def _infer(self, request: oip.ModelInferRequest) -> Any:
        metadata = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return await _call(self._inference.ModelInfer, request, metadata=metadata)


async def _call(method: Callable[..., Awaitable[Any]], request: Any, **options: Any) -> Any:
    with rpc_errors():
        return await method(request, timeout=CALL_S, **options)


def _answer(response: Any, rows: int) -> Answer:
    """Raises DataLoss for what does not say which weights gave it, or answers something else."""
    try:
        outputs = {
            tensor.name: (list(tensor.shape), raw)
            for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        shape, raw = outputs["logits"]
        logits = np.frombuffer(raw, "<f4").reshape(shape)
        digest = bytes.fromhex(response.parameters["digest"].string_param.removeprefix("0x"))
        version = int(response.model_version)
    except (KeyError, ValueError) as error:
        raise DataLoss(f"the server's answer does not say which weights gave it: {error}") from error
    if len(digest) != 32:
        raise DataLoss(f"the server's answer names weights by {len(digest)} bytes; a digest has 32")
    if logits.ndim != 2 or len(logits) != rows or not logits.shape[1]:
        raise DataLoss(f"the server answered {rows} rows with logits of the shape {logits.shape}")
    if not np.isfinite(logits).all():
        raise DataLoss("the server answered with infinity or NaN", reason="NotFinite")
    return Answer(logits=logits, labels=logits.argmax(axis=1), version=version, digest=digest)
