"""Two small contracts in plain EVM code, for attacks: no compiler needed to read or run them."""

from __future__ import annotations

from linklearner.domain.errors import InvalidInput

_OPCODES = {
    "STOP": 0x00, "SUB": 0x03, "EQ": 0x14, "ISZERO": 0x15, "SHR": 0x1C, "CALLDATALOAD": 0x35, "CALLDATASIZE": 0x36,
    "CALLDATACOPY": 0x37, "CODECOPY": 0x39, "RETURNDATASIZE": 0x3D, "RETURNDATACOPY": 0x3E, "MSTORE": 0x52,
    "JUMPI": 0x57, "GAS": 0x5A, "JUMPDEST": 0x5B, "DUP1": 0x80, "CALL": 0xF1, "RETURN": 0xF3, "DELEGATECALL": 0xF4,
    "STATICCALL": 0xFA, "REVERT": 0xFD,
}  # fmt: skip


def assemble(text: str) -> bytes:
    """Opcodes by name, numbers as pushes of two bytes, `name:` a jump target, `@name` its address."""
    words = text.split()
    labels: dict[str, int] = {}
    position = 0
    for word in words:
        if word.endswith(":"):
            labels[word[:-1]] = position
        position += 1 if word.endswith(":") or word in _OPCODES else 3
    code = b""
    for word in words:
        if word.endswith(":"):
            code += bytes([_OPCODES["JUMPDEST"]])
        elif word in _OPCODES:
            code += bytes([_OPCODES[word]])
        else:
            try:
                value = labels[word[1:]] if word.startswith("@") else int(word, 0)
            except (KeyError, ValueError):
                raise InvalidInput(f"no opcode, number or label: {word}") from None
            code += b"\x61" + value.to_bytes(2, "big")
    return code


def creation_code(runtime: bytes) -> bytes:
    head = assemble(f"{len(runtime)} DUP1 16 0 CODECOPY 0 RETURN")  # 3 + 1 + 3 + 3 + 1 + 3 + 1 = 15 bytes, and a STOP
    return head + b"\x00" + runtime


def relay(kind: str, *, swallow: bool = False) -> bytes:
    """A contract that calls calldata[0:20] with calldata[20:], by CALL, DELEGATECALL or STATICCALL, and passes on the outcome.

    `swallow`: it succeeds whatever came of the call. Creation code.
    """
    value = "0" if kind == "CALL" else ""
    outcome = "STOP" if swallow else "0 REVERT"
    if not swallow:
        outcome = "RETURNDATASIZE 0 0 RETURNDATACOPY RETURNDATASIZE 0 REVERT"
    return creation_code(
        assemble(
            f"""
            20 CALLDATASIZE SUB 20 0 CALLDATACOPY
            0 0 20 CALLDATASIZE SUB 0 {value} 0 CALLDATALOAD 96 SHR GAS {kind}
            @fine JUMPI {outcome}
            fine: RETURNDATASIZE 0 0 RETURNDATACOPY RETURNDATASIZE 0 RETURN
            """
        )
    )


def everybodys() -> bytes:
    """A contract that calls everybody its owner (so anyone may bind Aspects to it) and accepts every call. Creation code."""
    return creation_code(assemble("1 0 MSTORE 32 0 RETURN"))
