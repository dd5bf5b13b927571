"""The chain itself: accounts, blocks, transactions and the EVM, without a network in sight."""
