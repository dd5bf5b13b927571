"""The embedded chain: an EVM with Aspects that answers as an Artela node does."""
