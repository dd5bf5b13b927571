"""The WebAssembly binary format in plain Python: reading, judging and metering code before it is compiled."""
