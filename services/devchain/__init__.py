"""The embedded chain: an EVM with Aspects that answers as an Artela node does."""

from services.devchain.server import Devchain

__all__ = ["Devchain"]
