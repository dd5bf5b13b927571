"""Exit status 0 if the server named is ready: what container health checks run, often, so it imports little.

ready.py host:port          a gRPC server says SERVING
ready.py http://host:port   a JSON-RPC node knows its newest block
"""

import json
import sys
import urllib.request

TIMEOUT_S = 3.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server asked is this container's own: http_proxy is for others."""


def serving(address: str) -> bool:
    """Whether the gRPC health service there says SERVING for the server as a whole."""
    import grpc  # not needed, and in no hurry, for a node
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            print(f"{address}: {error.details()}", file=sys.stderr)
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def at_a_block(url: str) -> bool:
    """Whether the node there answers eth_blockNumber with a number."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with DIRECT.open(request, timeout=TIMEOUT_S) as answer:
            return int(json.loads(answer.read(65_536))["result"], 16) >= 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    target = sys.argv[1]
    sys.exit(0 if (at_a_block(target) if "://" in target else serving(target)) else 1)
