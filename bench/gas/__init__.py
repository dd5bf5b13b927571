"""What a contribution costs under Artela's rules: `python -m bench.gas`."""
