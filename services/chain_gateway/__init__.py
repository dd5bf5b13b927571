"""The chain gateway: owns keys, submits, settles, follows; the one service that imports web3."""
