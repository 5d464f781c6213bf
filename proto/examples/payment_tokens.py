"""Payment tokens over gRPC: each is created once, used once, and never lost.

    pip install grpcio grpcio-tools
    FASTNESS_CLUSTER=.fastness-dev/cluster.json python proto/examples/payment_tokens.py

Generates the stubs from proto/ at its start. Exits with 0 only if its own checks hold.
"""

import binascii
import json
import os
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

import grpc
import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent.parent
DEADLINE = 10
SLOTS = 16384


def stubs():
    """Generates the modules for fastness/v1/kv.proto and for the details of errors, and imports them."""
    out = tempfile.mkdtemp(prefix="fastness-stubs-")
    Path(out, "error_details.proto").write_text(
        """syntax = "proto3"; package google.rpc; import "google/protobuf/any.proto";
        import "google/protobuf/duration.proto";
        message Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3; }
        message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
        message RetryInfo { google.protobuf.Duration retry_delay = 1; }"""
    )
    includes = [f"-I{PROTO}", f"-I{out}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    outputs = [f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(["protoc", *includes, *outputs, "fastness/v1/kv.proto", "error_details.proto"]) != 0:
        raise SystemExit("the stubs cannot be generated")
    sys.path.insert(0, out)
    import error_details_pb2
    from fastness.v1 import kv_pb2, kv_pb2_grpc

    return kv_pb2, kv_pb2_grpc, error_details_pb2


kv, kv_grpc, rpc = stubs()


def slot_of(key):
    """CRC16 (XMODEM) of the key's hash tag."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    tag = key[start + 1 : end] if end > start + 1 else key
    return binascii.crc_hqx(tag, 0) % SLOTS


class Refused(Exception):
    """A call that has failed: its reason, and whether nothing has happened and trying again makes sense."""

    def __init__(self, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.reason, self.metadata, self.retry = "", {}, None
        for name, value in error.trailing_metadata() or ():
            if name != "grpc-status-details-bin":
                continue
            for detail in rpc.Status.FromString(value).details:
                info, retry = rpc.ErrorInfo(), rpc.RetryInfo()
                if detail.Unpack(info):
                    self.reason, self.metadata = info.reason, dict(info.metadata)
                elif detail.Unpack(retry):
                    self.retry = retry.retry_delay.ToTimedelta().total_seconds()


class Cluster:
    """Calls the primary of each key, and repeats what has certainly not happened."""

    def __init__(self, path):
        file = json.loads(Path(path).read_text())
        self.credentials = grpc.ssl_channel_credentials(Path(file["ca"]).read_bytes())
        self.addresses = [node["grpc"] for node in file["nodes"]]
        self.channels, self.places = {}, {}

    def stub(self, address):
        """None: the node cannot be reached, so that nothing was sent to it."""
        if address not in self.channels:
            channel = grpc.secure_channel(address, self.credentials)
            try:
                grpc.channel_ready_future(channel).result(timeout=1)
            except grpc.FutureTimeoutError:
                channel.close()
                return None
            self.channels[address] = channel
        return kv_grpc.KvServiceStub(self.channels[address])

    def call(self, method, request, key, reads=False):
        slot, until = slot_of(key), time.monotonic() + DEADLINE
        address = self.places.get(slot) or random.choice(self.addresses)
        while True:
            stub = self.stub(address)
            if stub is None:
                if time.monotonic() > until:
                    raise SystemExit("no node can be reached")
                address = random.choice(self.addresses)
                continue
            try:
                return getattr(stub, method)(request, timeout=until - time.monotonic())
            except grpc.RpcError as error:
                refused = Refused(error)
                if not refused.reason:
                    self.channels.pop(address).close()
                # A connection that cannot be made or breaks has no reason: only a read may be repeated.
                again = refused.retry is not None or (reads and not refused.reason)
                if refused.reason == "MOVED":
                    address = refused.metadata["address"]
                    first, last = map(int, refused.metadata["slots"].split("-"))
                    self.places.update(dict.fromkeys(range(first, last + 1), address))
                elif again and time.monotonic() < until:
                    time.sleep(random.uniform(0, refused.retry or 0.1))
                    address = random.choice(self.addresses)
                else:
                    raise refused from error


class Tokens:
    """A token stands for a card. It is created once, and can be redeemed once."""

    def __init__(self, cluster):
        self.cluster = cluster

    def create(self, token, card):
        key = b"token:" + token
        request = kv.SetRequest(key=key, value=card, if_absent=True, ttl_ms=3_600_000)
        return self.cluster.call("Set", request, key).applied

    def card(self, token):
        key = b"token:" + token
        response = self.cluster.call("Get", kv.GetRequest(key=key, with_ttl=True), key, reads=True)
        return response.value if response.HasField("value") else None

    def redeem(self, token):
        """Takes the card, if the token was not redeemed before: compared and removed as one."""
        key, card = b"token:" + token, self.card(token)
        if card is None:
            return None
        remove = kv.PipelineRequest(delete=kv.DeleteRequest(keys=[key]))
        request = kv.TxnRequest(compares=[kv.Compare(key=key, equals=card)], operations=[remove])
        return card if self.cluster.call("Txn", request, key).succeeded else None


def check(holds, what):
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}")


def main():
    path = os.environ.get("FASTNESS_CLUSTER") or (sys.argv[1] if len(sys.argv) > 1 else None)
    if not path:
        raise SystemExit("FASTNESS_CLUSTER: the path of a cluster.json, as `make run` writes it")
    tokens = Tokens(Cluster(path))
    made = [secrets.token_hex(8).encode() for _ in range(100)]
    check(all(tokens.create(token, b"card " + token) for token in made), "100 tokens are created")
    check(not any(tokens.create(token, b"another card") for token in made), "none of them can be created again")
    check(all(tokens.card(token) == b"card " + token for token in made), "each stands for its card")
    check(tokens.card(b"unknown") is None, "an unknown token stands for none")
    check(tokens.redeem(made[0]) == b"card " + made[0], "a token is redeemed")
    check(tokens.redeem(made[0]) is None, "and not a second time")
    for token in made[1:]:
        tokens.redeem(token)
    check(not any(tokens.card(token) for token in made), "redeemed tokens are gone")


if __name__ == "__main__":
    main()
