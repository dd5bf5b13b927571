"""JSON-RPC over HTTP and WebSocket: hex in, hex out, nothing decided here that the chain decides."""
