"""The cluster that the tests of applications share: one shard, three replicas, `sync`.

`FASTNESS_APPLICATIONS_ON=valkey` runs them on a real Valkey instead.
"""

import atexit
import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "clients"))

import cluster  # noqa: E402 - the folder was added to the path above

import redis  # noqa: E402
from primary import PrimaryConnection, retry  # noqa: E402

ON_VALKEY = os.environ.get("FASTNESS_APPLICATIONS_ON") == "valkey"
_SHARD = None
# Warnings about what blocks an event loop: the tests do.
logging.getLogger("asyncio").setLevel(logging.ERROR)


def shard():
    """The shard: that of run.py, or one that is started for this process and stopped at its end."""
    global _SHARD
    if _SHARD is None:
        running = os.environ.get("FASTNESS_APPLICATIONS_CLUSTER")
        if ON_VALKEY:
            import reference

            _SHARD = reference.Valkey(running)
        else:
            _SHARD = cluster.Cluster(shards=1, running=running)
        if not running:
            # Not in the processes that workers fork.
            owner = os.getpid()
            atexit.register(lambda: _SHARD.stop() if os.getpid() == owner else None)
    return _SHARD


def nodes():
    """The addresses of all replicas, as `primary.py` takes them."""
    return ",".join(f"{host}:{port}" for host, port in shard().listeners(False))


def client(**options):
    """A client that finds the primary."""
    options = {"connection_class": PrimaryConnection, "nodes": nodes(), "retry": retry()} | options
    return redis.Redis(connection_pool=redis.ConnectionPool(**options))


class Runs:
    """Who ran which job how often: one line per run, in a file, so that it is known whatever happens to the store."""

    def __init__(self):
        descriptor, name = tempfile.mkstemp(prefix="fastness-runs-")
        os.close(descriptor)
        self.path = name

    def counts(self):
        counts = {}
        for line in Path(self.path).read_text().split():
            counts[line] = counts.get(line, 0) + 1
        return counts

    def wait_for(self, jobs, timeout=60, at_risk=0):
        """Waits until each of the jobs has run; returns how many have run more than once. So many may be lost."""
        until = time.monotonic() + timeout
        while missing := set(map(str, jobs)) - self.counts().keys():
            if time.monotonic() > until:
                if len(missing) <= at_risk:
                    print(f"lost, as was at risk: {sorted(missing)}")
                    break
                raise AssertionError(f"{len(missing)} of {len(jobs)} jobs never ran, such as {sorted(missing)[:5]}")
            time.sleep(0.05)
        return sum(1 for count in self.counts().values() if count > 1)

    def remove(self):
        os.unlink(self.path)


def record(path, job):
    """What a job does: it notes that it has run. A short line is appended whole."""
    with open(path, "a") as file:
        file.write(f"{job}\n")


class Failover:
    """The primary's process is killed shortly after the block was entered; at its end the node runs again."""

    def __init__(self, after=1.0):
        self.after = after

    def __enter__(self):
        shard().primary()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._kill)
        self.thread.start()
        return self

    def _kill(self):
        time.sleep(self.after)
        self.node = shard().kill_primary()
        shard().primary()
        self.done.set()

    def is_over(self):
        """Whether there is a new primary."""
        return self.done.is_set()

    def __exit__(self, *_):
        self.thread.join()
        shard().restart(self.node)


def send_through(failover, send, pause=0.02, after=10):
    """Sends jobs 0, 1, 2 … until there is a new primary and some more. Returns those that were acknowledged.

    A job whose sending fails is not acknowledged: nobody knows whether it was stored. Its number is not used again.
    """
    acknowledged, refused, job, left = [], [], 0, after
    while left:
        try:
            send(job)
            acknowledged.append(job)
        except Exception as error:  # noqa: BLE001 - each application has its own errors
            refused.append(f"{job}: {type(error).__name__} {error}")
        job += 1
        left -= failover.is_over()
        time.sleep(pause)
    if refused:
        print(f"not acknowledged: {len(refused)}, such as {refused[0]}")
    if job - 1 not in acknowledged or len(acknowledged) < after:
        raise AssertionError(f"only {len(acknowledged)} of {job} were acknowledged: {refused[-1:]}")
    return acknowledged
