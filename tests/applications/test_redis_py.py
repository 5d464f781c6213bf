"""redis-py itself: a client that finds the primary, its locks, its cluster client, and what each retry may do twice."""

import asyncio
import threading
import time
import unittest

import redis
import redis.asyncio
import redis.cluster
from redis.backoff import NoBackoff
from redis.retry import Retry

import primary
import primary_once
import shard


def count_through(failover, increment):
    """Increments until there is a new primary. Returns how often it was acknowledged, and how often it failed."""
    acknowledged = failed = 0
    left = 20
    while left:
        try:
            increment()
            acknowledged += 1
        except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException) as error:
            if not failed:
                print(f"failed: {type(error).__name__} {error}")
            failed += 1
            time.sleep(0.05)
        left -= failover.is_over()
    return acknowledged, failed


class Locks(unittest.TestCase):
    def test_one_holder_at_a_time(self):
        client = shard.client()
        holders, most = [], []

        def work():
            for _ in range(5):
                with client.lock("lock:one", timeout=10, sleep=0.01):
                    holders.append(1)
                    most.append(len(holders))
                    time.sleep(0.005)
                    holders.pop()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(most, [1] * 20)

    def test_a_lock_ends_with_its_time(self):
        client = shard.client()
        first = client.lock("lock:time", timeout=0.2)
        second = client.lock("lock:time", timeout=10)
        self.assertTrue(first.acquire(blocking=False))
        self.assertFalse(second.acquire(blocking=False))
        self.assertTrue(second.acquire(blocking_timeout=5))
        # Who has lost the lock cannot release the next holder's.
        with self.assertRaises(redis.exceptions.LockNotOwnedError):
            first.release()
        self.assertTrue(second.owned())
        self.assertTrue(second.extend(5))
        self.assertTrue(second.reacquire())
        second.release()
        self.assertFalse(second.locked())


class LocksThroughAFailover(unittest.TestCase):
    def test_a_lock_stays_with_its_holder(self):
        """Guarantee: no acknowledged lock is lost. Its deadline continues on the new primary."""
        client, other = shard.client(), shard.client()
        with shard.Failover() as failover:
            held = client.lock("lock:failover", timeout=60)
            self.assertTrue(held.acquire(blocking=False))
            while not failover.is_over():
                self.assertFalse(other.lock("lock:failover", timeout=60).acquire(blocking=False))
            self.assertTrue(held.owned())
            self.assertFalse(other.lock("lock:failover").acquire(blocking=False))
            self.assertLessEqual(other.pttl("lock:failover"), 60_000)
            held.release()
            self.assertTrue(other.lock("lock:failover", timeout=1).acquire(blocking=False))


class Client(unittest.TestCase):
    def test_basic_flow_from_any_node(self):
        """Whichever node comes first in the list, all commands go to the primary; so do subscriptions."""
        nodes = shard.nodes().split(",")
        for i, first in enumerate(nodes):
            with shard.client(nodes=",".join([first, *nodes])) as client:
                self.assertTrue(client.set(f"client:{i}", i, ex=100))
                self.assertEqual(client.get(f"client:{i}"), str(i).encode())
                with client.pipeline() as pipe:
                    pipe.incr("{client}n").incr("{client}n").expire("{client}n", 100)
                    self.assertEqual(pipe.execute()[1] % 2, 0)
                with client.pubsub(ignore_subscribe_messages=True) as subscriber:
                    subscriber.subscribe("client:channel")
                    subscriber.get_message(timeout=1)
                    client.publish("client:channel", "hello")
                    self.assertEqual(subscriber.get_message(timeout=5)["data"], b"hello")

    @unittest.skipIf(shard.ON_VALKEY, "SKIPPED: the real Valkey runs without TLS")
    def test_over_tls(self):
        nodes = ",".join(f"{host}:{port}" for host, port in shard.shard().listeners(True))
        tls = {"nodes": nodes, "ssl_ca_certs": shard.shard().ca}
        with shard.client(connection_class=primary.PrimarySslConnection, **tls) as client:
            self.assertTrue(client.set("client:tls", "yes"))
            self.assertEqual(client.get("client:tls"), b"yes")

        async def read():
            pool = redis.asyncio.ConnectionPool(connection_class=primary.AsyncPrimarySslConnection, **tls)
            client = redis.asyncio.Redis(connection_pool=pool)
            value = await client.get("client:tls")
            await pool.disconnect()
            return value

        self.assertEqual(asyncio.run(read()), b"yes")


@unittest.skipIf(shard.ON_VALKEY, "SKIPPED: a real Valkey has no idempotency keys")
class Once(unittest.TestCase):
    """`primary_once.py`: what is sent again takes effect once."""

    def test_all_kinds_of_calls(self):
        with once_client() as client:
            self.assertEqual([client.incr("once:n") for _ in range(3)], [1, 2, 3])
            self.assertEqual(client.get("once:n"), b"3")
            with client.pipeline(transaction=True) as pipe:
                self.assertEqual(pipe.incr("{once}a").incr("{once}a").get("{once}a").execute(), [1, 2, b"2"])
            with client.pipeline(transaction=False) as pipe:
                self.assertEqual(pipe.incr("once:n").incr("once:n").get("once:n").execute(), [4, 5, b"5"])
            client.rpush("once:list", "x", "y")
            self.assertEqual(client.blpop("once:list", timeout=1)[1], b"x")
            with client.pubsub(ignore_subscribe_messages=True) as subscriber:
                subscriber.subscribe("once:channel")
                subscriber.get_message(timeout=1)
                client.publish("once:channel", "hello")
                self.assertEqual(subscriber.get_message(timeout=5)["data"], b"hello")

    def test_a_call_whose_answers_are_lost_is_done_once(self):
        """Each call loses its connection twice: after it was sent, before the answer is read."""
        with once_client(connection_class=LosesAnswers) as client:
            self.assertEqual([client.incr("lost:n") for _ in range(20)], list(range(1, 21)))
            with client.pipeline(transaction=True) as pipe:
                self.assertEqual(pipe.incr("lost:n").rpush("{lost:n}list", *"abc").execute(), [21, 3])
            with client.pipeline(transaction=False) as pipe:
                self.assertEqual(pipe.incr("lost:n").incr("lost:n").execute(), [22, 23])
            self.assertEqual([client.lpop("{lost:n}list") for _ in range(4)], [b"a", b"b", b"c", None])
            # An element that comes while the call waits.
            pusher = threading.Timer(0.5, lambda: shard.client().rpush("{lost:n}list", "late"))
            pusher.start()
            self.assertEqual(client.blpop("{lost:n}list", timeout=10)[1], b"late")
            pusher.join()


def once_client(**options):
    once = {"connection_class": primary_once.OncePrimaryConnection, "retry": primary_once.once()}
    return shard.client(**(once | options))


class LosesAnswers(primary_once.OncePrimaryConnection):
    """Reads the first two answers to each call, and then pretends that the connection was lost."""

    seen = None
    losses = 0

    def read_response(self, *args, **options):
        answer = super().read_response(*args, **options)
        if self.has_key():
            call = self.retry.sequence
            self.losses = self.losses + 1 if call == self.seen else 1
            self.seen = call
            if self.losses <= 2:
                self.disconnect()
                raise redis.exceptions.ConnectionError("the answer was lost")
        return answer


class ClientThroughAFailover(unittest.TestCase):
    def count(self, increment, key, lost_answers_are_retried, gives_up=0):
        with shard.Failover(after=0.5) as failover:
            acknowledged, failed = count_through(failover, increment)
            with shard.client() as client:
                stored = int(client.get(key))
        print(f"{key}: {acknowledged} acknowledged, {failed} failed, {stored} stored")
        self.assertGreater(acknowledged, 20)
        # No acknowledged write is lost.
        self.assertGreaterEqual(stored, acknowledged)
        if lost_answers_are_retried:
            # At least once: the one command that was in flight may have been done twice.
            self.assertLessEqual(failed, gives_up)
            self.assertLessEqual(stored, acknowledged + failed + 1)
        else:
            # At most once: what failed has happened once or not at all.
            self.assertLessEqual(stored, acknowledged + failed)

    def test_with_retries_every_write_is_acknowledged_and_done_at_least_once(self):
        with shard.client() as client:
            self.count(lambda: client.incr("count:retried"), "count:retried", True)

    def test_with_keys_every_write_is_done_exactly_once(self):
        if shard.ON_VALKEY:
            self.skipTest("SKIPPED: a real Valkey has no idempotency keys")
        with once_client() as client:
            with shard.Failover(after=0.5) as failover:
                acknowledged, failed = count_through(failover, lambda: client.incr("count:exactly"))
                self.assertEqual(int(client.get("count:exactly")), acknowledged)
        self.assertEqual(failed, 0)
        print(f"count:exactly: {acknowledged} acknowledged and stored")

    def test_without_retries_what_fails_is_reported_and_done_at_most_once(self):
        with shard.client(retry=Retry(NoBackoff(), 0)) as client:
            self.count(lambda: client.incr("count:once"), "count:once", False)

    def test_the_cluster_client_finds_the_new_primary_by_itself(self):
        start = [redis.cluster.ClusterNode(host, port) for host, port in shard.shard().listeners(False)]
        with redis.cluster.RedisCluster(startup_nodes=start, retry=shard.retry()) as client:
            # While there is no primary it gives up now and then, whatever `retry` says. What fails may have been done.
            self.count(lambda: client.incr("count:cluster"), "count:cluster", True, gives_up=20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
