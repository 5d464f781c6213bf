"""Real clients run their basic flow against a cluster of real processes, in plaintext and over TLS.

`make test` runs it. FASTNESS_BIN names the binary, FASTNESS_VALKEY_CLI a valkey-cli; redis-cli comes from the system.
"""

import asyncio
import os
import shutil
import subprocess
import time
import unittest
import unittest.mock
from pathlib import Path

import glide
import redis
import redis.cluster
import redis.connection
import valkey
import valkey.cluster
from glide_shared.config import TlsAdvancedConfiguration
from redis.cache import CacheConfig

from cluster import AZS, Cluster

CLUSTER = None


def setUpModule():
    global CLUSTER
    CLUSTER = Cluster()


def tearDownModule():
    if CLUSTER:
        CLUSTER.stop()


class PythonClusterFlow:
    """The cluster clients of redis-py and valkey-py, which have the same interface."""

    tls = False

    def connect(self, **options):
        host, port = CLUSTER.listeners(self.tls)[0]
        if self.tls:
            options |= {"ssl": True, "ssl_ca_certs": CLUSTER.ca}
        return self.module.cluster.__dict__[self.client_class](host=host, port=port, **options)

    def test_basic_flow(self):
        with self.connect(decode_responses=True) as client:
            p = f"{self.module.__name__}{self.tls}:"
            for i in range(200):
                self.assertTrue(client.set(f"{p}{i}", i))
            self.assertEqual([client.get(f"{p}{i}") for i in range(200)], [str(i) for i in range(200)])
            self.assertEqual(client.incrby(f"{p}n", 41), 41)
            self.assertEqual(client.incr(f"{p}n"), 42)
            self.assertTrue(client.set(f"{p}ttl", "x", ex=100))
            self.assertIn(client.ttl(f"{p}ttl"), range(95, 101))
            self.assertEqual(client.append(f"{p}ttl", "yz"), 3)
            self.assertEqual(client.exists(f"{p}1", f"{p}nothing"), 1)
            self.assertEqual(client.mset_nonatomic({f"{p}m{i}": i for i in range(20)}) and True, True)
            self.assertEqual(client.mget_nonatomic([f"{p}m{i}" for i in range(20)]), [str(i) for i in range(20)])
            self.assertEqual(client.delete(f"{p}1"), 1)
            self.assertIsNone(client.get(f"{p}1"))
            keys = set(client.scan_iter(match=f"{p}m*"))
            self.assertEqual(keys, {f"{p}m{i}" for i in range(20)})

    def test_pipeline(self):
        with self.connect(decode_responses=True) as client:
            p = f"{self.module.__name__}{self.tls}:pipe:"
            pipe = client.pipeline()
            for i in range(100):
                pipe.set(f"{p}{i}", i)
                pipe.get(f"{p}{i}")
            answers = pipe.execute()
            self.assertEqual(answers[1::2], [str(i) for i in range(100)])

    def test_reads_from_replicas(self):
        with self.connect(decode_responses=True, read_from_replicas=True) as client:
            p = f"{self.module.__name__}{self.tls}:replica:"
            for i in range(50):
                client.set(f"{p}{i}", i)
            # Replicas are eventually consistent: WAIT returns when they have stored the write; they apply it later.
            for i in range(50):
                for _ in range(200):
                    if client.get(f"{p}{i}") == str(i):
                        break
                else:
                    self.fail(f"a replica never showed {p}{i}")

    def test_wrong_arguments_are_reported(self):
        with self.connect(decode_responses=True) as client:
            p = f"{self.module.__name__}{self.tls}:wrong"
            client.set(p, "text")
            with self.assertRaisesRegex(self.module.exceptions.ResponseError, "not an integer"):
                client.incr(p)
        # A cluster client looks commands up in the reply of COMMAND. A plain client shows the error of the server.
        host, port = CLUSTER.listeners(False)[0]
        with self.module.__dict__[self.plain_class](host=host, port=port) as client:
            with self.assertRaisesRegex(self.module.exceptions.ResponseError, "unknown command 'NOSUCH'"):
                client.execute_command("NOSUCH", p, "x")


class RedisPy(PythonClusterFlow, unittest.TestCase):
    module = redis
    client_class = "RedisCluster"
    plain_class = "Redis"


class RedisPyTls(RedisPy):
    tls = True


class ValkeyPy(PythonClusterFlow, unittest.TestCase):
    module = valkey
    client_class = "ValkeyCluster"
    plain_class = "Valkey"


class ValkeyPyTls(ValkeyPy):
    tls = True


class DurabilityOverride:
    """CLIENT DURABILITY and the attribute, on an `async` cluster, with the means of ordinary client libraries."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(shards=1, durability="async")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def primary(self):
        """A client with one connection, to the primary."""
        for host, port in self.cluster.listeners(False):
            client = self.module.__dict__[self.plain_class](host=host, port=port, decode_responses=True)
            if client.execute_command("ROLE")[0] == "master":
                return client
            client.close()
        self.fail("no primary")

    def waited(self, client):
        """How many replies have waited for their commit because of an override."""
        return client.info("durability")["durability_replies_delayed_by_override"]

    def test_for_a_connection(self):
        with self.primary() as client, client.client() as overridden, client.client() as other:
            before = self.waited(other)
            self.assertEqual(overridden.execute_command("CLIENT", "DURABILITY", "SYNC"), "OK")
            self.assertEqual(overridden.execute_command("CLIENT", "DURABILITY"), "sync")
            self.assertEqual(other.execute_command("CLIENT", "DURABILITY"), "default")
            for i in range(20):
                self.assertTrue(overridden.set(f"override:{i}", i))
                self.assertTrue(other.set(f"plain:{i}", i))
            # A pipeline would take another connection of the pool, which has no override.
            self.assertEqual(overridden.execute_command("MULTI"), "OK")
            self.assertEqual([overridden.execute_command("INCR", "override:n") for _ in range(2)], ["QUEUED"] * 2)
            self.assertEqual(overridden.execute_command("EXEC"), [1, 2])
            self.assertEqual(self.waited(other) - before, 21)
            self.assertEqual([c["flags"] for c in other.client_list() if "D" in c["flags"]], ["D"])

    def test_for_every_connection_of_a_pool(self):
        """Libraries have a hook for new connections: with it every connection of a pool gets the override."""

        def override(connection):
            connection.send_command("CLIENT", "DURABILITY", "SYNC")
            self.assertIn(connection.read_response(), ["OK", b"OK"])

        with self.primary() as client:
            before = self.waited(client)
            host, port = self.cluster.listeners(False)[0]
            options = {self.connect_hook: override}
            with self.module.cluster.__dict__[self.client_class](host=host, port=port, **options) as overridden:
                for i in range(20):
                    self.assertTrue(overridden.set(f"{{pool}}{i}", i))
                self.assertEqual(self.waited(client) - before, 20)

    def test_for_one_command(self):
        attribute = b"|1\r\n$10\r\ndurability\r\n$4\r\nsync\r\n"
        with self.primary() as client:
            before = self.waited(client)
            connection = client.connection_pool.get_connection("SET")
            connection.send_packed_command([attribute, *connection.pack_command("SET", "once", "1")])
            self.assertEqual(connection.read_response(), "OK")
            connection.send_packed_command([attribute.replace(b"sync", b"what"), *connection.pack_command("PING")])
            with self.assertRaisesRegex(self.module.exceptions.ResponseError, "'sync' or 'default', not 'what'"):
                connection.read_response()
            client.connection_pool.release(connection)
            self.assertEqual(self.waited(client) - before, 1)


class RedisPyDurabilityOverride(DurabilityOverride, unittest.TestCase):
    module = redis
    client_class = "RedisCluster"
    plain_class = "Redis"
    connect_hook = "redis_connect_func"


class ValkeyPyDurabilityOverride(DurabilityOverride, unittest.TestCase):
    module = valkey
    client_class = "ValkeyCluster"
    plain_class = "Valkey"
    connect_hook = "valkey_connect_func"


class RedisPyClientSideCache(unittest.TestCase):
    """redis-py keeps what it has read until the server informs it that a key has changed."""

    def connect(self, **options):
        host, port = CLUSTER.listeners(tls=False)[0]
        return redis.cluster.RedisCluster(host=host, port=port, decode_responses=True, protocol=3, **options)

    def test_a_cached_value_is_read_again_after_a_change(self):
        # It would cache nothing of a server that calls itself valkey.
        with unittest.mock.patch.object(redis.connection.CacheProxyConnection, "DEFAULT_SERVER_NAME", "valkey"):
            cached, other = self.connect(cache_config=CacheConfig()), self.connect()
            for n in range(6):
                key = f"cached{n}"
                node = other.get_node_from_key(key)

                def gets():
                    return other.info("commandstats", target_nodes=node)["cmdstat_get"]["calls"]

                other.set(key, "1")
                self.assertEqual(cached.get(key), "1")
                before = gets()
                self.assertEqual([cached.get(key) for _ in range(5)], ["1"] * 5)
                self.assertEqual(gets(), before, "they were answered from the cache")
                other.set(key, "2")
                deadline = time.monotonic() + 10
                while cached.get(key) != "2":
                    self.assertLess(time.monotonic(), deadline, "the old value is served for ever")
                    time.sleep(0.01)
                other.delete(key)
                while cached.get(key) is not None:
                    self.assertLess(time.monotonic(), deadline, "the removed value is served for ever")
                    time.sleep(0.01)
            cached.close()
            other.close()


class Glide(unittest.TestCase):
    tls = False

    def configuration(self, **options):
        advanced = None
        if self.tls:
            pem = Path(CLUSTER.ca).read_bytes()
            tls = TlsAdvancedConfiguration(root_pem_cacerts=pem)
            advanced = glide.AdvancedGlideClusterClientConfiguration(tls_config=tls)
        addresses = [glide.NodeAddress(host, port) for host, port in CLUSTER.listeners(self.tls)[:3]]
        return glide.GlideClusterClientConfiguration(
            addresses, use_tls=self.tls, request_timeout=5000, advanced_config=advanced, **options
        )

    def test_basic_flow(self):
        async def flow():
            client = await glide.GlideClusterClient.create(self.configuration())
            p = f"glide{self.tls}:"
            for i in range(100):
                self.assertEqual(await client.set(f"{p}{i}", str(i)), "OK")
            got = await client.mget([f"{p}{i}" for i in range(100)])
            self.assertEqual(got, [str(i).encode() for i in range(100)])
            self.assertEqual(await client.incrby(f"{p}n", 5), 5)
            self.assertTrue(await client.expire(f"{p}n", 50))
            self.assertIn(await client.ttl(f"{p}n"), range(45, 51))
            batch = glide.ClusterBatch(is_atomic=True)
            batch.set(f"{{{p}}}a", "1")
            batch.incr(f"{{{p}}}a")
            self.assertEqual(await client.exec(batch, raise_on_error=True), ["OK", 2])
            self.assertEqual(await client.delete([f"{p}{i}" for i in range(100)]), 100)
            await client.close()

        asyncio.run(flow())

    def test_az_affinity_reads_from_the_own_az(self):
        """Reads of a client in AZ b go to replicas (or primaries) in b, and return what was written."""

        async def flow():
            read_from = glide.ReadFrom.AZ_AFFINITY_REPLICAS_AND_PRIMARY
            configuration = self.configuration(read_from=read_from, client_az="b")
            client = await glide.GlideClusterClient.create(configuration)
            p = f"glide{self.tls}:az:"
            for i in range(60):
                await client.set(f"{p}{i}", str(i))
            await client.wait(2, 2000)
            before = await self.reads_by_az()
            for _ in range(5):
                for i in range(60):
                    self.assertEqual(await client.get(f"{p}{i}"), str(i).encode())
            after = await self.reads_by_az()
            await client.close()
            gained = {az: after[az] - before[az] for az in AZS}
            self.assertGreaterEqual(gained["b"], 300, gained)
            self.assertLess(gained["a"] + gained["c"], 60, gained)

        asyncio.run(flow())

    async def reads_by_az(self):
        """How many GETs the replicas of each AZ have answered, according to INFO commandstats."""
        counts = dict.fromkeys(AZS, 0)
        for node in CLUSTER.file["nodes"]:
            for listener in node["resp"]:
                with redis.Redis(host=listener["host"], port=listener["port"], decode_responses=True) as r:
                    counts[node["az"]] += r.info("commandstats").get("cmdstat_get", {}).get("calls", 0)
        return counts


class GlideTls(Glide):
    tls = True


class CommandLine(unittest.TestCase):
    """redis-cli and valkey-cli, as a person uses them."""

    def programs(self):
        found = [p for p in [shutil.which("redis-cli"), os.environ.get("FASTNESS_VALKEY_CLI")] if p]
        self.assertTrue(found, "there is neither redis-cli nor FASTNESS_VALKEY_CLI")
        return found

    def run_cli(self, program, *args, tls=False):
        host, port = CLUSTER.listeners(tls)[0]
        security = ["--tls", "--cacert", CLUSTER.ca] if tls else []
        done = subprocess.run(
            [program, "-h", host, "-p", str(port), *security, *args], capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip(), done.returncode, done.stderr

    def test_follows_redirections(self):
        for program in self.programs():
            for i in range(20):
                self.assertEqual(self.run_cli(program, "-c", "SET", f"cli:{i}", str(i))[0], "OK")
                self.assertEqual(self.run_cli(program, "-c", "GET", f"cli:{i}")[0], str(i))

    def test_over_tls(self):
        for program in self.programs():
            out, code, err = self.run_cli(program, "-c", "SET", "cli:tls", "yes", tls=True)
            if "Unrecognized option" in err or "--tls" in err:
                self.skipTest(f"{program} was built without TLS")
            self.assertEqual((out, code), ("OK", 0), err)
            self.assertEqual(self.run_cli(program, "-c", "GET", "cli:tls", tls=True)[0], "yes")

    def test_cluster_check_and_info(self):
        host, port = CLUSTER.listeners(False)[0]
        for program in self.programs():
            for verb in ["check", "info"]:
                out, code, err = self.run_cli(program, "--cluster", verb, f"{host}:{port}")
                self.assertEqual(code, 0, out + err)
            self.assertIn("All 16384 slots covered", self.run_cli(program, "--cluster", "check", f"{host}:{port}")[0])

    def test_bigkeys(self):
        for program in self.programs():
            out, code, err = self.run_cli(program, "--bigkeys")
            self.assertEqual(code, 0, out + err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
