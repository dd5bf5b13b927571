"""Values and rules: no I/O, no protobuf, no async."""
