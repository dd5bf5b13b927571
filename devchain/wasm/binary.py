"""Reading and writing the primitive values of the WebAssembly binary format.

`Reader` answers malformed input in the words, and at the offsets, of the node's validator (wasmparser 0.202): the error text
of a refused deployment is part of what a client sees.
"""

from __future__ import annotations


class WasmError(Exception):
    """Malformed or disallowed code. The text is the node's own, with the offset if there is one."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at offset {offset:#x})")


_MAX_STRING = 100_000


class Reader:
    """A cursor over `data[pos:end]`; offsets in errors are absolute in `data`, but for a few that count from `base`."""

    __slots__ = ("base", "data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.base = pos
        self.pos = pos
        self.end = len(data) if end is None else end

    def eof(self) -> bool:
        return self.pos >= self.end

    def u8(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise WasmError("unexpected end-of-file", pos)
        self.pos = pos + 1
        return self.data[pos]

    def peek(self) -> int:
        if self.pos >= self.end:
            raise WasmError("unexpected end-of-file", self.pos)
        return self.data[self.pos]

    def take(self, size: int) -> bytes:
        pos = self.pos
        if size > self.end - pos:
            raise WasmError("unexpected end-of-file", pos)
        self.pos = pos + size
        return self.data[pos : pos + size]

    def u32(self) -> int:
        return self._unsigned(32)

    def u64(self) -> int:
        return self._unsigned(64)

    def i32(self) -> int:
        return self._signed(32, "i32")

    def i64(self) -> int:
        return self._signed(64, "i64")

    def s33(self) -> int:
        return self._signed(33, "s33")

    def _unsigned(self, bits: int) -> int:
        byte = self.u8()
        result = byte & 0x7F
        shift = 7
        while byte & 0x80:
            byte = self.u8()
            result |= (byte & 0x7F) << shift
            if shift > bits - 8 and byte >> (bits - shift):
                trouble = "representation too long" if byte & 0x80 else "too large"
                raise WasmError(f"invalid var_u{bits}: integer {trouble}", self.pos - 1)
            shift += 7
        return result

    def _signed(self, bits: int, name: str) -> int:
        byte = self.u8()
        result = byte & 0x7F
        shift = 7
        while byte & 0x80:
            byte = self.u8()
            result |= (byte & 0x7F) << shift
            if shift > bits - 8:
                # the payload bits above `bits` must all repeat the sign
                spare = (byte & 0x7F) >> (bits - shift - 1)
                if byte & 0x80 or spare not in (0, (1 << (8 - bits + shift)) - 1):
                    trouble = "representation too long" if byte & 0x80 else "too large"
                    raise WasmError(f"invalid var_{name}: integer {trouble}", self.pos - 1)
            shift += 7
        width = min(shift, bits)
        result &= (1 << width) - 1
        return result - (1 << width) if result >> (width - 1) else result

    def size(self, limit: int, what: str) -> int:
        """A count or length that may not exceed `limit`."""
        pos = self.pos
        size = self.u32()
        if size > limit:
            raise WasmError(f"{what} size is out of bounds", pos)
        return size

    def string(self) -> str:
        size = self.u32()
        if size > _MAX_STRING:
            raise WasmError("string size out of bounds", self.pos - 1)
        raw = self.take(size)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise WasmError("invalid UTF-8 encoding", self.pos - 1) from None


def uleb(value: int) -> bytes:
    """The shortest unsigned LEB128."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sleb(value: int) -> bytes:
    """The shortest signed LEB128."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)
