"""Each module that the node was offered in a deployment: judged, then `init` run, with the node's words where it says no."""

import pytest
from eth_hash.auto import keccak

from devchain.aspect.environment import JoinPoint
from devchain.aspect.inputs import init_input
from devchain.aspect.runtime import AspectRuntime, CodeRefused, FailureKind
from tests.devchain.aspect.doubles import ASPECT, DATA, SENDER, MemoryEnvironment, node_text, recorded

OFFERED = {
    step["step"].split(": ")[1]: step for step in recorded() if step["step"].startswith("deploy refused, as call: ")
}


def deploy(runtime: AspectRuntime, code: bytes) -> str:
    """The error of a deployment, as far as code decides it; "" if there is none, "panic" if the node crashes."""
    try:
        runtime.validate(code)
    except CodeRefused as refused:
        return str(refused)
    argument = init_input(tx_hash=bytes(32), aspect_id=ASPECT, sender=SENDER, block_number=1, call_data=b"")
    outcome = runtime.call(keccak(code), code, argument, 1_000_000, MemoryEnvironment(JoinPoint.INIT))
    if outcome.failure is None:
        return ""
    return "panic" if outcome.failure.kind is FailureKind.PANIC else outcome.failure.message


@pytest.mark.parametrize("name", OFFERED)
def test_a_module_is_taken_or_refused_as_the_node_did(runtime: AspectRuntime, name: str) -> None:
    code = (DATA / "refused" / f"{name}.wasm").read_bytes()
    expected = node_text(OFFERED[name])
    if name == "allocate-returns-negative":
        expected = "panic"  # recorded as the answer 0x
    assert deploy(runtime, code).split("backtrace")[0] == expected


def test_all_offered_modules_are_here() -> None:
    assert {path.stem for path in (DATA / "refused").glob("*.wasm")} == set(OFFERED)
