"""`debug_traceTransaction` and `debug_traceCall`: go-ethereum's struct log and its callTracer, with the Aspects in them.

An Aspect call is an entry of type (or op) `ASPECT`, with `joinPoint`, `aspectVersion`, what it logged as `aspectLogs`, and its protobuf
input and output as `input` and `output`. A node shows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devchain.aspect.environment import NodePanic
from devchain.chain.chain import EmbeddedChain
from devchain.chain.evm import MNEMONICS, REVERTED, revert_reason
from devchain.chain.execution import ExecutionResult, IntrinsicGasTooLow
from devchain.chain.questions import QUESTION_GAS_CAP, CallFailed, CallRequest, CannotTrace
from devchain.chain.tracing import CallTracer, StepTracer, Traced, TraceStep, TraceTooLarge
from devchain.rpc import codec
from devchain.rpc.codec import RpcError, data, quantity
from devchain.watch import TimeUp


def _op_name(op: int) -> str:
    name = MNEMONICS.get(op, "")
    if op == 0x20:
        return "KECCAK256"
    return name or ("INVALID" if op == 0xFE else f"opcode {op:#x} not defined")


@dataclass(frozen=True, slots=True)
class _Wanted:
    tracer: str
    only_top: bool
    with_log: bool
    stack: bool
    memory: bool
    storage: bool
    limit: int


def _options(given: Any, position: int) -> _Wanted:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise codec.invalid(position, "json: cannot unmarshal into Go value of type tracers.TraceConfig")
    tracer = given.get("tracer") or ""
    if tracer not in ("", "callTracer"):
        raise RpcError(
            codec.SERVER_ERROR, f"tracer {tracer!r} is not offered: leave it out for struct logs, or callTracer"
        )
    own = given.get("tracerConfig") or {}
    if not isinstance(own, dict):
        raise codec.invalid(position, "tracerConfig: an object")
    flags = {
        key: codec.parse_bool(given.get(key, False), position)
        for key in ("disableStack", "enableMemory", "disableStorage")
    }
    return _Wanted(
        tracer,
        codec.parse_bool(own.get("onlyTopCall", False), position),
        codec.parse_bool(own.get("withLog", False), position),
        not flags["disableStack"],
        flags["enableMemory"],
        not flags["disableStorage"],
        codec.parse_number(given.get("limit", 0), position),
    )


def table(
    chain: EmbeddedChain, question_of: Callable[[list[Any]], CallRequest], number_of: Callable[[Any, int], int]
) -> dict[str, Callable[[list[Any]], Any]]:
    def transaction(params: list[Any]) -> Any:
        found = chain.store.receipt(codec.parse_hash(codec.argument(params, 0), 0))
        wanted = _options(params[1] if len(params) > 1 else None, 1)
        if found is None:
            raise RpcError(codec.SERVER_ERROR, "transaction not found")
        number, receipt = found
        sent = receipt.transaction
        top = Traced("CALL" if sent.to else "CREATE", sent.sender, sent.to or b"", sent.value, sent.gas, sent.data)
        return _run(wanted, top, lambda tracer: chain.questions.trace(number, receipt.index, tracer))

    def call(params: list[Any]) -> Any:
        question = question_of(params)
        number = number_of(params[1] if len(params) > 1 else None, 1)
        wanted = _options(params[2] if len(params) > 2 else None, 2)
        gas = min(question.gas or QUESTION_GAS_CAP, QUESTION_GAS_CAP)
        kind = "CALL" if question.to else "CREATE"
        top = Traced(kind, question.sender, question.to or b"", question.value, gas, question.data)
        return _run(wanted, top, lambda tracer: chain.questions.ask(question, number, tracer=tracer))

    return {"debug_traceTransaction": transaction, "debug_traceCall": call}


def _run(wanted: _Wanted, top: Traced, execute: Callable[[Any], ExecutionResult]) -> Any:
    calls = CallTracer()
    steps = StepTracer(_op_name, stack=wanted.stack, memory=wanted.memory, storage=wanted.storage, limit=wanted.limit)
    try:
        outcome = execute(calls if wanted.tracer else steps)
    except (CannotTrace, CallFailed, NodePanic) as error:
        raise RpcError(codec.SERVER_ERROR, str(error)) from None
    except IntrinsicGasTooLow:
        raise RpcError(codec.SERVER_ERROR, "intrinsic gas too low") from None
    except TimeUp:
        raise RpcError(codec.SERVER_ERROR, "execution timeout") from None
    except TraceTooLarge:
        text = "the trace is too large: try limit, disableStack, or the callTracer"
        raise RpcError(codec.SERVER_ERROR, text) from None
    if wanted.tracer:
        return _call_tree(calls, top, outcome, only_top=wanted.only_top)
    return {
        "gas": outcome.gas_used,
        "failed": outcome.error is not None,
        "returnValue": outcome.output.hex(),
        "structLogs": [_step_json(step) for step in steps.logged],
    }


def _call_tree(calls: CallTracer, asked: Traced, outcome: ExecutionResult, *, only_top: bool) -> dict[str, Any]:
    """asked: the transaction, whose gas limit stands for the gas of its call, as with go-ethereum."""
    if calls.root is None:
        # the system contract, or a join point before the call that failed: what ran are Aspects only
        asked.calls, asked.output = calls.before(), outcome.output
        top = _call_json(asked, deep=not only_top)
    else:
        top = _call_json(calls.root, deep=not only_top) | {"gas": quantity(asked.gas)}
    top["gasUsed"] = quantity(outcome.gas_used)
    if outcome.error is not None:
        top["error"] = outcome.error  # a join point may have failed after the call itself was done
    return top


def _call_json(call: Traced, *, deep: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "type": call.kind,
        "from": data(call.sender),
        "to": data(call.to),
        "gas": quantity(call.gas),
        "gasUsed": quantity(call.gas_used),
        "input": data(call.input),
    }
    if call.kind not in ("STATICCALL", "DELEGATECALL", "ASPECT"):
        answer["value"] = quantity(call.value)
    if call.output:
        answer["output"] = data(call.output)
    if call.error is not None:
        answer["error"] = call.error
        reason = revert_reason(call.output) if call.error == REVERTED else None
        if reason is not None:
            answer["revertReason"] = reason
    if call.join_point is not None:
        answer |= {
            "joinPoint": call.join_point.value,
            "aspectVersion": quantity(call.version),
            "aspectLogs": list(call.lines),
        }
    if deep and call.calls:
        answer["calls"] = [_call_json(inner, deep=True) for inner in call.calls]
    return answer


def _step_json(step: TraceStep) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "pc": step.pc,
        "op": step.op,
        "gas": step.gas,
        "gasCost": step.cost,
        "depth": step.depth,
    }
    if step.error is not None:
        answer["error"] = step.error
    if step.aspect is not None:
        whole = _call_json(step.aspect, deep=False)
        return answer | {key: whole[key] for key in ("to", "joinPoint", "aspectVersion", "aspectLogs", "input")}
    if step.stack is not None:
        answer["stack"] = [hex(item) for item in step.stack]
    if step.memory is not None:
        answer["memory"] = [step.memory[at : at + 32].hex() for at in range(0, len(step.memory), 32)]
    if step.storage is not None:
        answer["storage"] = {f"{slot:064x}": f"{value:064x}" for slot, value in step.storage.items()}
    return answer
