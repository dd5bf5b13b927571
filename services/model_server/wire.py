"""A message judged by its bytes before it becomes objects.

Two bytes can spell an empty tensor, for which protobuf keeps some three hundred: four megabytes of those are 645. Numbers, which is what
a long message should consist of, stay as they are. So a long message may have few fields besides its numbers; a short one cannot do harm.
"""

from collections.abc import Iterator

from linklearner.domain.errors import InvalidInput

SHORT_BYTES = 16384
"""Messages up to here are parsed as they are, and long ones may have as much in names, shapes and parameters: 3 MiB of objects."""
MAX_FIELDS = 64
"""Of a long message, of one of its inputs, and of that one's contents."""

_INPUTS, _RAW = 5, 7  # ModelInferRequest
_CONTENTS = 5  # InferInputTensor
_FP32 = 6  # InferTensorContents


def check(message: bytes) -> None:
    """Raises InvalidInput for a ModelInferRequest whose objects would take much more room than its bytes."""
    if len(message) <= SHORT_BYTES:
        return
    rest = 0
    for number, start, end in _fields(message, 0, len(message)):
        if number == _INPUTS:
            for part, from_, to in _fields(message, start, end):
                if part == _CONTENTS:
                    for kind, first, last in _fields(message, from_, to):
                        rest += 0 if kind == _FP32 else last - first
                else:
                    rest += to - from_
        elif number != _RAW:
            rest += end - start
    if rest > SHORT_BYTES:
        raise InvalidInput(
            f"a request has at most {SHORT_BYTES} bytes besides its FP32 numbers, not {rest}", reason="TooLong"
        )


def _fields(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the fields of a message that lies in [at, end)."""
    count = 0
    while at < end:
        count += 1
        if count > MAX_FIELDS:
            raise InvalidInput(
                f"a request of this length has at most {MAX_FIELDS} fields in one message: send numbers packed, or raw",
                reason="TooManyFields",
            )
        key, at = _varint(message, at, end)
        kind = key & 7
        if kind == 0:
            start, (_, at) = at, _varint(message, at, end)
        elif kind == 2:
            length, start = _varint(message, at, end)
            at = start + length
        elif kind in (1, 5):
            start, at = at, at + (8 if kind == 1 else 4)
        else:
            raise _malformed()
        if at > end:
            raise _malformed()
        yield key >> 3, start, at


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _malformed()


def _malformed() -> InvalidInput:
    return InvalidInput("these bytes are not a message of this call", reason="NotAMessage")
