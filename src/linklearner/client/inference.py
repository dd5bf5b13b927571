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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from numpy.typing import NDArray

from linklearner.domain import sign_in
from linklearner.domain.errors import DataLoss, InvalidInput, LinkLearnerError, TimedOut, Unauthenticated
from linklearner.domain.inputs import arranged, check_rows
from linklearner.domain.operators import Datatype
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.channel import channel
from linklearner.rpc.status import rpc_errors
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc

MAX_ANSWER_BYTES = 16 << 20
CALL_S = 30.0
"""Seconds for one call."""
MAX_ROW_DIGITS = 9
LOOK_S = 0.05
"""Seconds between two looks at a server that is to reach a version."""
CLOSE_S = 2.0
"""Seconds for the farewell; a session that could not be closed ends by itself."""


LABEL = "label"
"""What servers of ours call the index of the greatest logit."""
Inputs = NDArray[Any] | Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """What a model server answered, and by which weights."""

    outputs: Mapping[str, NDArray[Any]]
    """(B, …) of each, in the server's order: the model's first output comes first."""
    version: int
    """Version of the weights on the chain; one for all rows."""
    digest: bytes
    """32 bytes: the digest that the chain announced for that version."""

    @property
    def values(self) -> NDArray[Any]:
        """(B, …): the model's first output. Of a classifier the logits, (B, labels)."""
        return next(iter(self.outputs.values()))

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(B,), the index of the greatest logit, whatever the server says of it; None if the model is no classifier."""
        return self.values.argmax(axis=1) if LABEL in self.outputs else None


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
        self, model: str, inputs: Inputs, *, input_name: str | None = None, allow_range: bool = False
    ) -> Answer:
        """inputs: (B, …), unscaled, of the model's one input, or of each by its name; more rows than the server takes at once go in several
        calls, answered by one version.

        Without an input_name the server is asked for names, types and dimensions of its inputs, and the rows are arranged in these; with
        one, a single input is sent as it is, as FP32. allow_range: ask even for inputs far outside of the range that the task was made
        for. Raises NotFinite and OutOfRange, which name the row, before anything is sent, and DataLoss for an answer that does not fit.
        """
        if input_name is not None and not isinstance(inputs, Mapping):
            tensors = {input_name: (Datatype.FP32, np.ascontiguousarray(inputs, dtype="<f4"))}
        else:
            tensors = await self._arranged(model, inputs)
        count = len(next(iter(tensors.values()))[1])
        rows, input_range = max(count, 1), None
        if input_name is None or rows > 1:
            terms = await self._terms_of_server()
            if terms.model == model:
                rows = min(rows, terms.max_rows or rows)
                input_range = (terms.input_min, terms.input_max) if terms.input_min < terms.input_max else None
        for place, (name, (datatype, values)) in enumerate(tensors.items()):
            if datatype is Datatype.FP32 and values.ndim >= 2:
                # the terms tell the range of the first input
                check_rows(values, name=name, input_range=None if place else input_range, allow_range=allow_range)
        parts: list[Answer] = []
        for start in range(0, max(count, 1), rows):
            version = str(parts[0].version) if parts else ""
            some = {name: (kind, values[start : start + rows]) for name, (kind, values) in tensors.items()}
            parts.append(await self._ask(model, version, some, start, allow_range))
            if (parts[-1].version, parts[-1].digest) != (parts[0].version, parts[0].digest):
                raise DataLoss("the server answered one batch by several versions of the weights")
        outputs = {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
        return Answer(outputs=outputs, version=parts[0].version, digest=parts[0].digest)

    async def _arranged(self, model: str, inputs: Inputs) -> dict[str, tuple[Datatype, NDArray[Any]]]:
        """As the server describes its inputs. Raises InvalidInput for rows that do not fit, DataLoss for a description of no row."""
        described = (await _call(self._inference.ModelMetadata, oip.ModelMetadataRequest(name=model))).inputs
        if not isinstance(inputs, Mapping):
            if len(described) != 1:
                names = [str(one.name) for one in described]
                raise InvalidInput(
                    f"model '{model:.100}' has {len(names)} inputs; give each by its name: {names!s:.200}"
                )
            inputs = {str(described[0].name): inputs}
        if inputs.keys() != {one.name for one in described}:
            raise InvalidInput(
                f"model '{model:.100}' has the inputs {[str(one.name) for one in described]!s:.200}, not {sorted(inputs)!s:.200}"
            )
        found = {}
        for one in described:
            shape = tuple(one.shape)
            if (len(shape) < 2 or min(shape[1:]) < 1) and shape != (-1,):
                raise DataLoss(
                    f"model '{model:.100}' has an input of the shape {list(shape)!s:.100}: rows have dimensions"
                )
            try:
                datatype = Datatype(one.datatype)
            except ValueError:
                raise DataLoss(f"model '{model:.100}' has an input of the type {one.datatype:.20}") from None
            values = _typed(np.asarray(inputs[one.name]), datatype, one.name)
            found[str(one.name)] = (
                datatype,
                np.ascontiguousarray(arranged(values, shape[1:], f"model '{model:.100}'")),
            )
        if len({len(values) for _, values in found.values()}) != 1:
            raise InvalidInput("all inputs of one request have as many rows")
        return found

    async def _ask(
        self,
        model: str,
        version: str,
        tensors: Mapping[str, tuple[Datatype, NDArray[Any]]],
        start: int,
        allow_range: bool,
    ) -> Answer:
        request = oip.ModelInferRequest(
            model_name=model,
            model_version=version,
            inputs=[
                oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=values.shape)
                for name, (datatype, values) in tensors.items()
            ],
            raw_input_contents=[values.tobytes() for _, values in tensors.values()],
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
            told = error.facts.get("row", "")  # by a server: Python reads no number of thousands of digits
            if start and len(told) <= MAX_ROW_DIGITS and told.isdecimal():
                row = start + int(told)
                raise type(error)(
                    f"{error.message} (row {row} of the whole)", reason=error.reason, facts={**error.facts, "row": row}
                ) from error
            raise
        return _answer(answer, len(next(iter(tensors.values()))[1]))

    async def _infer(self, request: oip.ModelInferRequest) -> Any:
        metadata = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return await _call(self._inference.ModelInfer, request, metadata=metadata)


async def _call(method: Callable[..., Awaitable[Any]], request: Any, **options: Any) -> Any:
    with rpc_errors():
        return await method(request, timeout=CALL_S, **options)


def _typed(values: NDArray[Any], datatype: Datatype, name: str) -> NDArray[Any]:
    """The same numbers in the server's type. Raises InvalidInput for those that it does not hold; float32 rounds."""
    if datatype is Datatype.FP32:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            return values.astype("<f4")
    with np.errstate(invalid="ignore"):
        typed = values.astype(datatype.dtype)
    if not np.array_equal(typed, values):  # cut, or wrapped around
        raise InvalidInput(f"input '{name:.60}' takes whole numbers that {datatype} holds")
    return typed


def _answer(response: Any, rows: int) -> Answer:
    """Raises DataLoss for what does not say which weights gave it, or answers something else."""
    try:
        outputs = {
            str(tensor.name): np.frombuffer(raw, Datatype(tensor.datatype).dtype).reshape(list(tensor.shape))
            for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        digest = bytes.fromhex(response.parameters["digest"].string_param.removeprefix("0x"))
        version = int(response.model_version)
    except (KeyError, ValueError) as error:
        raise DataLoss(f"the server's answer does not say which weights gave it: {error}") from error
    if len(digest) != 32:
        raise DataLoss(f"the server's answer names weights by {len(digest)} bytes; a digest has 32")
    if not outputs:
        raise DataLoss("the server answered nothing")
    first = next(iter(outputs.values()))
    if LABEL in outputs and first.ndim != 2:
        raise DataLoss(f"the server answered {rows} rows with logits of the shape {first.shape}")
    for name, values in outputs.items():
        if not values.ndim or len(values) != rows or not values.size:
            raise DataLoss(f"the server answered {rows} rows with {name:.60} of the shape {values.shape}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataLoss("the server answered with infinity or NaN", reason="NotFinite")
    return Answer(outputs=outputs, version=version, digest=digest)
