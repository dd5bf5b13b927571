"""Arithmetic that 20 million gas buy too much of for plain Python: BLAKE2b's rounds and the pairing curve.

Both are used twice, by the EVM's precompiles and by the Aspects' crypto host functions. There is no kept wheel of alt_bn128 (looked
for in 2026-11: `eth-pairing-py-rust` and `mclbn256` have had no release since 2020 and 2023, `bn254` and `py-ecc` are pure Python
and slower than what is here); `blake2b-py` is kept but has wheels for one platform, and wasmtime is here anyway.
"""
