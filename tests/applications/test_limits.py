"""limits 5.8 (the library of Flask-Limiter and others) on one shard, and over all shards with its cluster storage."""

import threading
import time
import unittest

import limits
import limits.storage
import limits.strategies

import redis
import shard
from primary import PrimaryConnection, retry


def storage():
    """limits' storage for one server, with connections that find the primary."""
    pool = redis.ConnectionPool(connection_class=PrimaryConnection, nodes=shard.nodes(), retry=retry())
    return limits.storage.RedisStorage("redis://", connection_pool=pool)


class Limits(unittest.TestCase):
    def check_exact(self, strategy, where, name):
        """Of many threads that hit a limit of 25 at once, exactly 25 pass."""
        limiter, limit, passed = strategy(where), limits.parse("25/hour"), []

        def hit():
            for _ in range(10):
                if limiter.hit(limit, name, strategy.__name__):
                    passed.append(1)

        threads = [threading.Thread(target=hit) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(passed), 25, strategy.__name__)
        self.assertEqual(limiter.get_window_stats(limit, name, strategy.__name__).remaining, 0)
        limiter.clear(limit, name, strategy.__name__)
        self.assertTrue(limiter.test(limit, name, strategy.__name__))

    def test_every_strategy_is_exact(self):
        strategies = limits.strategies
        for strategy in [strategies.FixedWindowRateLimiter, strategies.MovingWindowRateLimiter]:
            self.check_exact(strategy, storage(), "one")

    def test_the_sliding_window_is_exact_with_the_cluster_storage(self):
        """Its scripts use two keys, which only the cluster storage gives a common hash tag."""
        self.check_exact(limits.strategies.SlidingWindowCounterRateLimiter, self.cluster(), "sliding")

    def test_every_strategy_is_exact_with_the_cluster_storage(self):
        strategies = limits.strategies
        for strategy in [strategies.FixedWindowRateLimiter, strategies.MovingWindowRateLimiter]:
            self.check_exact(strategy, self.cluster(), "cluster")

    def cluster(self):
        return limits.storage.RedisClusterStorage(f"redis+cluster://{shard.nodes()}", retry=retry())

    def test_a_window_ends(self):
        limiter, limit = limits.strategies.MovingWindowRateLimiter(storage()), limits.parse("2/second")
        self.assertEqual([limiter.hit(limit, "ends") for _ in range(3)], [True, True, False])
        time.sleep(1.1)
        self.assertTrue(limiter.hit(limit, "ends"))


class LimitsThroughAFailover(unittest.TestCase):
    def pass_through(self, limiter, name):
        """Hits a limit of 100 from before until after a failover, more often than it allows."""
        limit, passed, failed = limits.parse("100/hour"), 0, 0
        with shard.Failover(after=0.5) as failover:
            hits = 0
            while not failover.is_over() or hits < 150:
                try:
                    passed += limiter.hit(limit, name)
                except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException) as error:
                    print(f"limits: {type(error).__name__} {error}")
                    failed += 1
                hits += 1
                time.sleep(0.01)
        print(f"limits: {passed} of {hits} passed, {failed} failed")
        return passed, failed

    def test_no_limit_is_exceeded(self):
        """Guarantee: no acknowledged hit is forgotten, so no more than 100 pass. With retries, a hit whose answer was
        lost may be counted twice: one may be missing for each connection."""
        passed, failed = self.pass_through(limits.strategies.FixedWindowRateLimiter(storage()), "failover-fixed")
        self.assertEqual(failed, 0)
        self.assertIn(passed, [99, 100])

    def test_no_limit_is_exceeded_with_the_cluster_storage(self):
        where = limits.storage.RedisClusterStorage(f"redis+cluster://{shard.nodes()}", retry=retry())
        passed, failed = self.pass_through(limits.strategies.MovingWindowRateLimiter(where), "failover-moving")
        # Scripts are loaded on all primaries that the client knows, so a hit may fail while one of them is dead.
        self.assertLessEqual(failed, 20)
        self.assertLessEqual(passed, 100)
        self.assertGreaterEqual(passed, 99 - failed)


if __name__ == "__main__":
    unittest.main(verbosity=2)
