"""The whole thing in one go: five people, one chain, one model, one cheat, one token-gated answer, one audit.

A client like any other: it starts the suite (`python -m services`) as a process and calls it over gRPC. The acts, in their order, are
`start`, `rounds`, `inference`, `payout` and the audit; `play` is the order, `screen` and `report` are what is seen of it.
"""
