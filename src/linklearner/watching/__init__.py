"""A task as it happens, in a terminal: `linklearner watch`.

`watched` is what has been seen and turns two looks into events, without I/O; `screen` draws it; `watcher` asks: a stream wakes it for each
version, and between versions it looks at a bounded pace.
"""
