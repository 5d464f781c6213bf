"""A cluster of real processes on this machine, for tests in Python."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

BINARY = os.environ.get("FASTNESS_BIN", "fastness")
AZS = ["a", "b", "c"]


def reserve_ports():
    """Finds 100 consecutive free ports. Returns the first, and a listener on the last one: their lock."""
    for base in range(10_000, 30_000, 100):
        try:
            lock = socket.create_server(("127.0.0.1", base + 99))
        except OSError:
            continue
        try:
            for port in range(base, base + 99):
                socket.create_server(("127.0.0.1", port)).close()
            return base, lock
        except OSError:
            lock.close()
    raise RuntimeError("there are no 100 consecutive free ports")


def role(host, port):
    """The role of the node behind a listener: `master`, `slave`, or None if it does not answer."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(b"*1\r\n$4\r\nROLE\r\n")
            # *3, the length of the first element, the role.
            reply = connection.makefile("rb")
            lines = [reply.readline().strip() for _ in range(3)]
    except OSError:
        return None
    return lines[2].decode() if lines[0].startswith(b"*") else None


class Cluster:
    """A three-AZ cluster; by default three shards in `sync` mode. Or the one that already runs in a folder."""

    def __init__(self, shards=3, durability="sync", running=None):
        if running:
            self.dir = running
            return
        self.dir = tempfile.mkdtemp(prefix="fastness-clients-")
        base, self.ports_lock = reserve_ports()
        options = ["--shards", str(shards), "--durability", durability, "--port", str(base)]
        self.dev("--detach", "--azs", ",".join(AZS), *options)

    @property
    def ca(self):
        """The file with the cluster's CA."""
        return self.file["ca"]

    @property
    def file(self):
        """What runs where, now: the supervisor keeps the file current."""
        return json.loads(Path(self.dir, "cluster.json").read_text())

    def dev(self, *args):
        done = subprocess.run([BINARY, "dev", *args, "--dir", self.dir], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"fastness dev {args}: {done.stdout}{done.stderr}")
        return done.stdout

    def listeners(self, tls):
        """Host and port of every replica's listener."""
        port = "tls_port" if tls else "port"
        return [(listener["host"], listener[port]) for node in self.file["nodes"] for listener in node["resp"]]

    def primary(self, timeout=30):
        """Host and port of the primary of a cluster with one shard. Waits until there is one."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            for host, port in self.listeners(False):
                if role(host, port) == "master":
                    return host, port
            time.sleep(0.05)
        raise RuntimeError("there is no primary")

    def kill_primary(self):
        """Kills the process of the primary; returns the node's id, with which `restart` starts it again."""
        address = self.primary()
        for node in self.file["nodes"]:
            if address in [(listener["host"], listener["port"]) for listener in node["resp"]]:
                os.kill(node["pid"], signal.SIGKILL)
                return node["id"]
        raise RuntimeError(f"no node listens on {address}")

    def restart(self, node):
        """Starts a killed node, and waits until every replica answers."""
        self.dev("node", "start", str(node))
        until = time.monotonic() + 30
        while None in [role(host, port) for host, port in self.listeners(False)]:
            if time.monotonic() > until:
                raise RuntimeError(f"node {node} does not answer")
            time.sleep(0.1)

    def stop(self):
        self.dev("stop")
        self.ports_lock.close()
        shutil.rmtree(self.dir)
