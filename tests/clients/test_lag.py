"""What real clients do while an `async` shard refuses writes because of lag: which of them wait until it accepts writes
again, for how long, and with which error the others give up. Reads continue for all of them.

The lag gate is closed by stalling the logs of both followers (`fastness lab`), as a disk that hangs does.
"""

import asyncio
import subprocess
import threading
import time
import unittest

import glide
import redis
import redis.cluster
import valkey
import valkey.cluster

from cluster import BINARY, Cluster

CLUSTER = None
# Far below the default of 10 s, so that the gate closes soon.
BOUND = "500ms"


def setUpModule():
    global CLUSTER
    CLUSTER = Cluster(shards=1, durability="async")
    for host, port in CLUSTER.listeners(False):
        with redis.Redis(host=host, port=port) as client:
            client.config_set("durability-max-lag", BOUND)
    # The shard applies it at its next check of the options.
    time.sleep(1.5)


def tearDownModule():
    if CLUSTER:
        CLUSTER.stop()


def primary():
    """The listener and the node id of the primary."""
    for node in CLUSTER.file["nodes"]:
        listener = node["resp"][0]
        with redis.Redis(host=listener["host"], port=listener["port"], decode_responses=True) as client:
            if client.info("replication")["role"] == "master":
                return listener, node["id"]
    raise RuntimeError("there is no primary")


def lab(node, fault):
    command = [BINARY, "lab", "disk", "--node", str(node), fault, "--dir", CLUSTER.dir]
    subprocess.run(command, check=True, capture_output=True)


class Stall:
    """Stalls the logs of both followers and waits until the gate is closed; heals them at the end."""

    def __enter__(self):
        self.listener, leads = primary()
        self.others = [node["id"] for node in CLUSTER.file["nodes"] if node["id"] != leads]
        for node in self.others:
            lab(node, "stall")
        with redis.Redis(host=self.listener["host"], port=self.listener["port"], decode_responses=True) as client:
            until = time.monotonic() + 20
            while client.info("durability")["durability_lag_gate"] != "closed":
                try:
                    client.set("opens", "an effect")
                except redis.exceptions.ResponseError:
                    pass
                if time.monotonic() > until:
                    raise RuntimeError("the gate does not close")
        return self

    def heal(self):
        threads = [threading.Thread(target=lab, args=(node, "heal")) for node in self.others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.others = []

    def is_open(self):
        with redis.Redis(host=self.listener["host"], port=self.listener["port"], decode_responses=True) as client:
            return client.info("durability")["durability_lag_gate"] != "closed"

    def __exit__(self, *_):
        self.heal()
        until = time.monotonic() + 20
        while not self.is_open():
            if time.monotonic() > until:
                raise RuntimeError("the gate does not open")
            time.sleep(0.01)


def timed(call):
    """What a call returns or raises, and how long it takes."""
    began = time.monotonic()
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - the test checks the kind of error
        result = error
    return result, time.monotonic() - began


class PythonClusterClient:
    """The cluster clients of redis-py and valkey-py, which have the same interface."""

    def connect(self):
        listener, _ = primary()
        return self.module.cluster.__dict__[self.client_class](
            host=listener["host"], port=listener["port"], decode_responses=True
        )

    def test_a_long_refusal_is_reported_as_clusterdown_and_reads_continue(self):
        with self.connect() as client:
            client.set("long", "before")
            with Stall():
                result, took = timed(lambda: client.set("long", "meanwhile"))
                self.assertIsInstance(result, self.module.exceptions.ClusterDownError)
                self.assertIn("Durability lag", str(result))
                low, high = self.gives_up_after
                self.assertTrue(low <= took <= high, f"gave up after {took:.2f} s")
                print(f"{self.module.__name__}: gave up after {took:.2f} s")
                # What was refused was not done.
                result, took = timed(lambda: client.get("long"))
                self.assertEqual(result, "before")
                self.assertLess(took, 1)

    def test_a_short_refusal_is_waited_out(self):
        with self.connect() as client:
            client.set("short", "before")
            with Stall() as stall:
                healer = threading.Thread(target=stall.heal)
                healer.start()
                result, took = timed(lambda: client.set("short", "after"))
                healer.join()
            print(f"{self.module.__name__}: {result!r} after {took:.2f} s")
            if result is not True:
                # On a busy machine it may have taken longer than this client waits.
                self.assertIsInstance(result, self.module.exceptions.ClusterDownError)
                self.assertGreaterEqual(took, self.gives_up_after[0])
            self.assertEqual(client.get("short"), "after" if result is True else "before")


class RedisPy(PythonClusterClient, unittest.TestCase):
    module = redis
    client_class = "RedisCluster"
    # Seconds; 2.9 on an idle machine.
    gives_up_after = (1.0, 8.0)


class ValkeyPy(PythonClusterClient, unittest.TestCase):
    module = valkey
    client_class = "ValkeyCluster"
    # Seconds; 1.0 on an idle machine.
    gives_up_after = (0.3, 5.0)


class Glide(unittest.TestCase):
    async def connect(self, **options):
        listener, _ = primary()
        addresses = [glide.NodeAddress(listener["host"], listener["port"])]
        return await glide.GlideClusterClient.create(glide.GlideClusterClientConfiguration(addresses, **options))

    def set_meanwhile(self, **options):
        async def flow():
            client = await self.connect(**options)
            await client.set("glide", "before")
            with Stall():
                began = time.monotonic()
                try:
                    result = await client.set("glide", "meanwhile")
                except Exception as error:  # noqa: BLE001
                    result = error
                took = time.monotonic() - began
                self.assertEqual(await client.get("glide"), b"before")
            await client.close()
            return result, took

        return asyncio.run(flow())

    def test_by_default_it_gives_up_at_its_own_time_out(self):
        result, took = self.set_meanwhile()
        self.assertIsInstance(result, glide.TimeoutError)
        self.assertLess(took, 1.2)

    def test_with_a_longer_time_out_it_retries_and_reports_clusterdown_in_the_end(self):
        result, took = self.set_meanwhile(request_timeout=15_000)
        self.assertIsInstance(result, glide.RequestError)
        self.assertRegex(str(result), "(?i)cluster ?down")
        print(f"GLIDE: gave up after {took:.2f} s")
        self.assertTrue(1.0 <= took <= 10.0, f"gave up after {took:.2f} s")


if __name__ == "__main__":
    unittest.main(verbosity=2)
