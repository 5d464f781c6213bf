"""One shard of a real Valkey in cluster mode: the applications run on it too, to tell their mistakes from ours.

Its failover is not automatic, because a cluster with one primary has no majority that could elect another one: a
replica is told to take over when the primary was killed. Its replication is asynchronous, so it may lose acknowledged
writes.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import reserve_ports, role

SERVER = os.environ.get("FASTNESS_VALKEY_SERVER")
CLI = os.environ.get("FASTNESS_VALKEY_CLI")


class Valkey:
    """A primary and two replicas, with the interface of `cluster.Cluster`."""

    def __init__(self, running=None):
        if running:
            self.dir = running
            self.ports = sorted(int(folder.name) for folder in Path(running).iterdir())
            return
        self.dir = tempfile.mkdtemp(prefix="fastness-reference-")
        base, self.ports_lock = reserve_ports()
        self.ports = [base, base + 1, base + 2]
        for port in self.ports:
            Path(self.dir, str(port)).mkdir()
            self.start(port)
        first, *others = self.ports
        self.cli(first, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        identity = self.cli(first, "CLUSTER", "MYID")
        for port in others:
            self.cli(port, "CLUSTER", "MEET", "127.0.0.1", str(first), str(first + 50))
        for port in others:
            self.until(lambda port=port: identity in self.cli(port, "CLUSTER", "NODES"))
            self.cli(port, "CLUSTER", "REPLICATE", identity)
        self.until(lambda: all("cluster_state:ok" in self.cli(port, "CLUSTER", "INFO") for port in self.ports))
        self.until(self.whole)

    def start(self, port):
        options = {"port": port, "cluster-port": port + 50, "dir": f"{self.dir}/{port}", "bind": "127.0.0.1"}
        options |= {"cluster-enabled": "yes", "cluster-node-timeout": 2000, "appendonly": "yes", "save": ""}
        # A replica that is told to take over is not refused because of how long it was disconnected.
        options |= {"cluster-replica-validity-factor": 0, "loglevel": "warning", "logfile": "log"}
        options |= {"daemonize": "yes", "pidfile": f"{self.dir}/{port}/pid"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        subprocess.run([SERVER, *arguments], check=True)
        self.until(lambda: role("127.0.0.1", port))

    def kill(self, port):
        os.kill(int(Path(self.dir, str(port), "pid").read_text()), signal.SIGKILL)
        self.until(lambda: role("127.0.0.1", port) is None)

    def cli(self, port, *arguments):
        done = subprocess.run([CLI, "-p", str(port), *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    def until(self, condition, timeout=30):
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError("the reference cluster does not become ready")
            time.sleep(0.05)

    def whole(self):
        """Whether both replicas have what the primary has."""
        port = self.primary()[1]
        return self.cli(port, "INFO", "replication").count("state=online") == 2

    def listeners(self, _tls):
        return [("127.0.0.1", port) for port in self.ports]

    def primary(self):
        primaries = [port for port in self.ports if role("127.0.0.1", port) == "master"]
        return "127.0.0.1", primaries[0]

    def kill_primary(self):
        port = self.primary()[1]
        self.kill(port)
        heir = next(other for other in self.ports if other != port)
        # As long as an election may take.
        time.sleep(1)
        self.cli(heir, "CLUSTER", "FAILOVER", "TAKEOVER")
        self.until(lambda: role("127.0.0.1", heir) == "master")
        return port

    def restart(self, port):
        self.start(port)
        self.until(lambda: role("127.0.0.1", port) == "slave")
        self.until(self.whole)

    def stop(self):
        for port in self.ports:
            self.kill(port)
        self.ports_lock.close()
        shutil.rmtree(self.dir)
