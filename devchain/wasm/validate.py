"""The node's judgement of a module: the checks of wasmparser 0.202 with the node's feature set, in the same order, same words.

On are mutable globals, sign extension and multiple values; everything else is off, floating point included. Sections are
checked as they come, function bodies after all of them, as `Validator::validate_all` does. `validate_aspect` adds the two
rules of an Aspect: no start section, and an exported function `__aspect_start__`; it does not look at exports otherwise
(neither does the node at this point: a bad export fails later, when the metered module is compiled).
"""

from __future__ import annotations

from collections.abc import Callable

from devchain.wasm.binary import Reader, WasmError
from devchain.wasm.body import BodyValidator
from devchain.wasm.instructions import skip_const_expr
from devchain.wasm.module import FuncType, GlobalType, Module, read_reference, read_value_type
from devchain.wasm.opcodes import FUNCREF, I32

ENTRYPOINT = "__aspect_start__"

_TAG_SECTION = 13

_MAX_TYPES = _MAX_FUNCTIONS = _MAX_GLOBALS = _MAX_TYPE_SIZE = 1_000_000
_MAX_EXPORTS = 100_000
_MAX_SEGMENTS = 100_000
_MAX_PARAMS = _MAX_RETURNS = 1000
_MAX_TABLE_ENTRIES = 10_000_000
_MAX_PAGES = 65_536
_MAX_FIELDS = 10_000

_FUNC, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
# the order in which non-custom sections must come; data count (12) stands between element and code
_ORDER = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 13: 6, 6: 7, 7: 8, 8: 9, 9: 10, 12: 11, 10: 12, 11: 13}


def validate_aspect(code: bytes) -> None:
    """Raise WasmError with the node's text unless the node would take `code`."""
    module = Module(floats=False)
    exported = _Sections(code, module, aspect=True).run()
    if not exported:
        raise WasmError("aspect entrypoint not exported")
    _check_bodies(code, module)


def validate_module(code: bytes, *, floats: bool = True) -> None:
    """Plain validation with the node's features, exports included: what the compiler checks. Raises WasmError."""
    module = Module(floats=floats)
    _Sections(code, module, aspect=False).run()
    _check_bodies(code, module)


def _check_bodies(code: bytes, module: Module) -> None:
    imported = module.imported_functions
    for index, (start, end) in enumerate(module.bodies):
        BodyValidator(code, start, end, module, module.types[module.functions[imported + index]]).run()


class _Sections:
    """Walks the sections of one module."""

    def __init__(self, code: bytes, module: Module, *, aspect: bool) -> None:
        self._code = code
        self._module = module
        self._aspect = aspect
        self._order = 0
        self._declared: int | None = None
        self._data_count: int | None = None
        self._segments = 0
        self._type_size = 1
        self._entrypoint = False
        self._code_seen = False

    def run(self) -> bool:
        """Returns whether the entrypoint is exported."""
        reader = Reader(self._code)
        _read_header(reader)
        while not reader.eof():
            start = reader.pos
            section = reader.u8()
            if section & 0x80:
                # the parser counts from the section's own start here
                raise WasmError("malformed section id", 0)
            length = reader.u32()
            self._section(section, start, length, reader)
        self._finish(reader.pos)
        return self._entrypoint

    def _section(self, section: int, start: int, length: int, reader: Reader) -> None:
        content = reader.pos
        handlers: dict[int, Callable[[Reader, int, int], None]] = {
            1: self._types,
            2: self._imports,
            3: self._functions,
            4: self._tables,
            5: self._memories,
            6: self._globals,
            7: self._aspect_exports if self._aspect else self._exports,
            9: self._elements,
            11: self._data,
        }
        if section == 0:
            _slice(reader, length).string()
        elif section in handlers or section == _TAG_SECTION:
            body = _slice(reader, length)
            count = body.u32()
            if section == _TAG_SECTION:
                raise WasmError("exceptions proposal not enabled", content)
            if not (section == 7 and self._aspect):
                self._enter(section, content)
            handlers[section](body, count, content)
            if not body.eof():
                raise WasmError("section size mismatch: unexpected data at the end of the section", body.pos)
        elif section == 8:
            self._start(reader, length, content)
        elif section == 10:
            self._bodies(reader, length, start)
        elif section == 12:
            count = _single(reader, length, "data count")
            self._enter(12, content)
            if count > _MAX_SEGMENTS:
                raise WasmError("data count section specifies too many data segments", content)
            self._data_count = count
        else:
            reader.take(length)
            raise WasmError(f"malformed section id: {section}", content)

    def _add_size(self, kind: int, index: int, offset: int) -> None:
        """Count an import or export by how much its type says."""
        module = self._module
        size = 1
        if kind == _FUNC:
            declared = module.types[module.functions[index]]
            size = 2 + len(declared.params) + len(declared.results)
        self._type_size += size
        if self._type_size >= _MAX_TYPE_SIZE:
            raise WasmError(f"effective type size exceeds the limit of {_MAX_TYPE_SIZE}", offset)

    def _enter(self, section: int, offset: int) -> None:
        if self._order >= _ORDER[section]:
            raise WasmError("section out of order", offset)
        self._order = _ORDER[section]

    # --- sections with counted items

    def _types(self, reader: Reader, count: int, offset: int) -> None:
        _check_max(len(self._module.types), count, _MAX_TYPES, "types", offset)
        for _ in range(count):
            at = reader.pos
            if reader.peek() == 0x4E:
                reader.u8()
                for _ in range(reader.size(_MAX_TYPES, "rec group types")):
                    _skip_sub_type(reader)
                raise WasmError("rec group usage requires `gc` proposal to be enabled", at)
            declared, trouble = _read_sub_type(reader)
            if trouble:
                raise WasmError(trouble, at)
            for value in declared.params + declared.results:
                self._module.check_value_type(value, at)
            self._module.types.append(declared)

    def _imports(self, reader: Reader, count: int, _offset: int) -> None:
        module = self._module
        for _ in range(count):
            at = reader.pos
            reader.string()
            reader.string()
            kind = _read_kind(reader)
            if kind == _FUNC:
                module.func_type(index := reader.u32(), at)
                module.functions.append(index)
                module.imported_functions += 1
                _check_max(len(module.functions), 0, _MAX_FUNCTIONS, "functions", at)
            elif kind == _TABLE:
                module.tables.append(self._table_type(reader, at))
                _check_max(len(module.tables), 0, 1, "tables", at)
            elif kind == _MEMORY:
                self._memory_type(reader, at)
                module.memories += 1
                _check_max(module.memories, 0, 1, "memories", at)
            elif kind == _GLOBAL:
                module.globals.append(self._global_type(reader, at))
                module.imported_globals += 1
                _check_max(len(module.globals), 0, _MAX_GLOBALS, "globals", at)
            else:
                _read_tag(reader)
                raise WasmError("exceptions proposal not enabled", at)
            self._add_size(kind, -1, at)

    def _functions(self, reader: Reader, count: int, offset: int) -> None:
        module = self._module
        _check_max(len(module.functions), count, _MAX_FUNCTIONS, "functions", offset)
        self._declared = count
        for _ in range(count):
            at = reader.pos
            index = reader.u32()
            module.func_type(index, at)
            module.functions.append(index)

    def _tables(self, reader: Reader, count: int, offset: int) -> None:
        _check_max(len(self._module.tables), count, 1, "tables", offset)
        for _ in range(count):
            at = reader.pos
            with_init = reader.peek() == 0x40
            if with_init:
                reader.u8()
                if reader.u8() != 0:
                    raise WasmError("invalid table encoding", reader.pos - 1)
            element = self._table_type(reader, at)
            if with_init:
                raise WasmError("tables with expression initializers require the function-references proposal", at)
            self._module.tables.append(element)

    def _memories(self, reader: Reader, count: int, offset: int) -> None:
        _check_max(self._module.memories, count, 1, "memories", offset)
        for _ in range(count):
            self._memory_type(reader, reader.pos)
            self._module.memories += 1

    def _globals(self, reader: Reader, count: int, offset: int) -> None:
        module = self._module
        _check_max(len(module.globals), count, _MAX_GLOBALS, "globals", offset)
        for _ in range(count):
            at = reader.pos
            declared = self._global_type(reader, None)
            start, end = skip_const_expr(reader)
            module.check_value_type(declared.value, at)
            BodyValidator.const_expr(self._code, start, end, module, declared.value)
            module.globals.append(declared)

    def _exports(self, reader: Reader, count: int, offset: int) -> None:
        module = self._module
        _check_max(len(module.exports), count, _MAX_EXPORTS, "exports", offset)
        for _ in range(count):
            at = reader.pos
            name, kind, index = _read_export(reader)
            space = (len(module.functions), len(module.tables), module.memories, len(module.globals), 0)[kind]
            if index >= space:
                what = ("function", "table", "memory", "global", "tag")[kind]
                raise WasmError(f"unknown {what} {index}: exported {what} index out of bounds", at)
            self._add_size(kind, index, at)
            if name in module.exports:
                raise WasmError(f"duplicate export name `{name}` already defined", at)
            module.exports.add(name)

    def _aspect_exports(self, reader: Reader, count: int, offset: int) -> None:
        for _ in range(count):
            name, kind, _index = _read_export(reader)
            if name == ENTRYPOINT and kind == _FUNC:
                self._entrypoint = True

    def _elements(self, reader: Reader, count: int, offset: int) -> None:
        _check_max(0, count, _MAX_SEGMENTS, "element segments", offset)
        for _ in range(count):
            at = reader.pos
            flags = reader.u32()
            if flags & ~7:
                raise WasmError("invalid flags byte in element segment", reader.pos - 1)
            self._element(reader, flags, at)

    def _element(self, reader: Reader, flags: int, at: int) -> None:
        module = self._module
        table, expression = 0, None
        if not flags & 1:
            table = reader.u32() if flags & 2 else 0
            expression = skip_const_expr(reader)
        by_expression = bool(flags & 4)
        element = FUNCREF
        if flags & 3:
            if by_expression:
                element = read_reference(reader)
            elif _read_kind(reader) != _FUNC:
                raise WasmError("only the function external type is supported in elem segment", reader.pos - 1)
        count = reader.u32()
        items: list[tuple[int, int]] = []
        for _ in range(count):
            if by_expression:
                items.append(skip_const_expr(reader))
            else:
                items.append((reader.pos, reader.u32()))
        if by_expression:
            module.check_value_type(element, at)
        if expression is None:
            raise WasmError("bulk memory must be enabled", at)
        if table >= len(module.tables):
            raise WasmError(f"unknown table {table}: table index out of bounds", at)
        BodyValidator.const_expr(self._code, *expression, module, I32)
        if count > _MAX_TABLE_ENTRIES:
            raise WasmError("number of elements is out of bounds", at)
        for item_at, function in items:
            if function >= len(module.functions):
                raise WasmError(f"unknown function {function}: func index out of bounds", item_at)

    def _data(self, reader: Reader, count: int, offset: int) -> None:
        self._segments = count
        _check_max(0, count, _MAX_SEGMENTS, "data segments", offset)
        for _ in range(count):
            at = reader.pos
            flags = reader.u32()
            if flags not in (0, 1, 2):
                raise WasmError("invalid flags byte in data segment", at)
            memory = reader.u32() if flags == 2 else 0
            expression = None if flags == 1 else skip_const_expr(reader)
            size = reader.u32()
            if size > reader.end - reader.pos:
                raise WasmError(
                    "unexpected end of section or function: data segment extends past end of the section", reader.end
                )
            reader.take(size)
            if expression is None:
                continue
            if memory >= self._module.memories:
                raise WasmError(f"unknown memory {memory}: memory index out of bounds", at)
            BodyValidator.const_expr(self._code, *expression, self._module, I32)

    # --- the others

    def _start(self, reader: Reader, length: int, content: int) -> None:
        index = _single(reader, length, "start")
        if self._aspect:
            raise WasmError("start section not allowed")
        self._enter(8, content)
        if index >= len(self._module.functions):
            raise WasmError(f"unknown function {index}: func index out of bounds", content)
        declared = self._module.types[self._module.functions[index]]
        if declared.params or declared.results:
            raise WasmError("invalid start function type", content)

    def _bodies(self, reader: Reader, length: int, start: int) -> None:
        # the parser does not cut this section out first: a body may run past its end before that is noticed, and the
        # offset of that error counts from the piece being parsed
        content = reader.pos
        end = content + length
        count = reader.u32()
        if reader.pos > end:
            raise WasmError("unexpected end-of-file", content - start)
        self._enter(10, content)
        if self._declared is not None and count != self._declared:
            raise WasmError("function and code section have inconsistent lengths", content)
        if self._declared is None and count:
            raise WasmError("code section without function section", content)
        self._code_seen = True
        for _ in range(count):
            size = reader.u32()
            body = reader.pos
            reader.take(size)
            if reader.pos > end:
                raise WasmError("unexpected end-of-file", 0)
            self._module.bodies.append((body, body + size))
        if reader.pos != end:
            raise WasmError("trailing bytes at end of section", reader.pos)

    def _finish(self, offset: int) -> None:
        if self._data_count is not None and self._data_count != self._segments:
            raise WasmError("data count and data section have inconsistent lengths", offset)
        if self._declared and not self._code_seen:
            raise WasmError("function and code section have inconsistent lengths", offset)

    # --- pieces

    def _table_type(self, reader: Reader, at: int) -> int:
        element = read_reference(reader)
        flags = reader.u8()
        if flags not in (0, 1):
            raise WasmError("invalid table resizable limits flags", reader.pos - 1)
        minimum = reader.u32()
        maximum = reader.u32() if flags else None
        if element != FUNCREF:
            raise WasmError("reference types support is not enabled", at)
        _check_limits(minimum, maximum, at)
        if minimum > _MAX_TABLE_ENTRIES:
            raise WasmError("minimum table size is out of bounds", at)
        return element

    def _memory_type(self, reader: Reader, at: int) -> None:
        flags_at = reader.pos
        flags = reader.u8()
        if flags & ~7:
            raise WasmError("invalid memory limits flags", flags_at)
        read = reader.u64 if flags & 4 else reader.u32
        minimum = read()
        maximum = read() if flags & 1 else None
        _check_limits(minimum, maximum, at)
        if flags & 4:
            raise WasmError("memory64 must be enabled for 64-bit memories", at)
        if max(minimum, maximum or 0) > _MAX_PAGES:
            raise WasmError("memory size must be at most 65536 pages (4GiB)", at)
        if flags & 2:
            raise WasmError("threads must be enabled for shared memories", at)

    def _global_type(self, reader: Reader, at: int | None) -> GlobalType:
        value = read_value_type(reader)
        mutable = reader.u8()
        if mutable > 1:
            raise WasmError("malformed mutability", reader.pos - 1)
        if at is not None:
            self._module.check_value_type(value, at)
        return GlobalType(value, bool(mutable))


def _read_header(reader: Reader) -> None:
    magic = reader.take(4)
    if magic != b"\0asm":
        wanted, found = ("".join(f"    {byte:#x},\n" for byte in word) for word in (b"\0asm", magic))
        raise WasmError(f"magic header not detected: bad magic number - expected=[\n{wanted}] actual=[\n{found}]", 0)
    version = int.from_bytes(reader.take(4), "little")
    number, kind = version & 0xFFFF, version >> 16
    if kind == 1:
        raise WasmError(
            f"unknown binary version and encoding combination: {number:#x} and 0x1, note: encoded as a component but the "
            "WebAssembly component model feature is not enabled - enable the feature to allow component validation",
            0,
        )
    if kind != 0:
        raise WasmError(f"unknown binary version: {version:#10x}", 4)
    if number != 1:
        raise WasmError(f"unknown binary version: {number:#x}", 0)


def _slice(reader: Reader, length: int) -> Reader:
    start = reader.pos
    reader.take(length)
    return Reader(reader.data, start, reader.pos)


def _single(reader: Reader, length: int, what: str) -> int:
    body = _slice(reader, length)
    value = body.u32()
    if not body.eof():
        raise WasmError(f"unexpected content in the {what} section", body.pos)
    return value


def _check_max(have: int, added: int, limit: int, what: str, offset: int) -> None:
    if have + added > limit:
        raise WasmError(f"multiple {what}" if limit == 1 else f"{what} count exceeds limit of {limit}", offset)


def _check_limits(minimum: int, maximum: int | None, offset: int) -> None:
    if maximum is not None and minimum > maximum:
        raise WasmError("size minimum must not be greater than maximum", offset)


def _read_sub_type(reader: Reader) -> tuple[FuncType, str]:
    """A type of the type section, and what the node says if it belongs to a proposal that is off (else "")."""
    trouble = ""
    supertypes = 0
    form = reader.peek()
    if form in (0x4F, 0x50):
        reader.u8()
        if supertypes := reader.size(1, "supertype idxs"):
            reader.u32()
        trouble = "gc proposal must be enabled to use subtypes" if form == 0x50 or supertypes else ""
    form = reader.u8()
    if form == 0x60:
        params = tuple(read_value_type(reader) for _ in range(reader.size(_MAX_PARAMS, "function params")))
        results = tuple(read_value_type(reader) for _ in range(reader.size(_MAX_RETURNS, "function returns")))
        return FuncType(params, results), trouble
    if form == 0x5E:
        _read_field(reader)
        return FuncType((), ()), trouble or "array indexed types not supported without the gc feature"
    if form == 0x5F:
        for _ in range(reader.size(_MAX_FIELDS, "struct fields")):
            _read_field(reader)
        return FuncType((), ()), trouble or "struct indexed types not supported without the gc feature"
    raise WasmError(f"invalid leading byte ({form:#x}) for type", reader.pos - 1)


def _skip_sub_type(reader: Reader) -> None:
    _read_sub_type(reader)


def _read_field(reader: Reader) -> None:
    if reader.peek() in (0x77, 0x78):
        reader.u8()
    else:
        read_value_type(reader)
    if reader.u8() > 1:
        raise WasmError("malformed mutability byte for field type", reader.pos)


def _read_kind(reader: Reader) -> int:
    at = reader.pos
    kind = reader.u8()
    if kind > _TAG:
        raise WasmError(f"invalid leading byte ({kind:#x}) for external kind", at)
    return kind


def _read_tag(reader: Reader) -> None:
    if reader.u8() != 0:
        raise WasmError("invalid tag attributes", reader.pos - 1)
    reader.u32()


def _read_export(reader: Reader) -> tuple[str, int, int]:
    return reader.string(), _read_kind(reader), reader.u32()
