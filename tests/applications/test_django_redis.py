"""django-redis 7.0 on one shard: Django's cache, sessions and locks."""

import threading
import time
import unittest

import shard


def setUpModule():
    global cache, SessionStore, get_redis_connection
    # Not above: the loader of tests looks into what a module has imported, and settings are empty until then.
    import django
    from django.conf import settings

    nodes = shard.nodes()
    options = {
        "CONNECTION_POOL_KWARGS": {"nodes": nodes, "retry": shard.retry(), "connection_class": shard.PrimaryConnection},
    }
    cache_settings = {
        "BACKEND": "django_redis.cache.RedisCache",
        # The connections take the addresses of `nodes` instead.
        "LOCATION": "redis://shard",
        "OPTIONS": options,
        # All keys have one hash tag, since get_many, delete_many and others concern several.
        "KEY_PREFIX": "{django}",
    }
    settings.configure(CACHES={"default": cache_settings}, SESSION_ENGINE="django.contrib.sessions.backends.cache")
    django.setup()
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import cache
    from django_redis import get_redis_connection


class DjangoRedis(unittest.TestCase):
    def test_values_and_their_time(self):
        self.assertTrue(cache.set("a", {"x": [1, 2]}, timeout=100))
        self.assertEqual(cache.get("a"), {"x": [1, 2]})
        self.assertIn(cache.ttl("a"), range(95, 101))
        self.assertFalse(cache.add("a", 1))
        cache.set("short", 1, timeout=0.2)
        cache.touch("a", 50)
        self.assertLessEqual(cache.ttl("a"), 50)
        time.sleep(0.4)
        self.assertIsNone(cache.get("short"))

    def test_many(self):
        cache.set_many({f"many:{i}": i for i in range(20)}, timeout=100)
        self.assertEqual(cache.get_many([f"many:{i}" for i in range(21)]), {f"many:{i}": i for i in range(20)})
        self.assertEqual(len(list(cache.iter_keys("many:*"))), 20)
        self.assertEqual(cache.delete_pattern("many:1*"), 11)
        cache.delete_many([f"many:{i}" for i in range(20)])
        self.assertEqual(cache.get_many([f"many:{i}" for i in range(20)]), {})

    def test_counters(self):
        cache.set("n", 1)
        threads = [threading.Thread(target=lambda: [cache.incr("n") for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(cache.get("n"), 41)
        self.assertEqual(cache.decr("n", 2), 39)
        with self.assertRaises(ValueError):
            cache.incr("nothing")

    def test_lock(self):
        with cache.lock("lock", timeout=10):
            self.assertFalse(cache.lock("lock", timeout=10).acquire(blocking=False))
        self.assertTrue(cache.lock("lock", timeout=0.1).acquire(blocking=False))

    def test_sessions(self):
        session = SessionStore()
        session["user"] = 42
        session.set_expiry(1)
        session.save()
        self.assertEqual(SessionStore(session.session_key)["user"], 42)
        time.sleep(1.2)
        self.assertNotIn("user", SessionStore(session.session_key))
        session = SessionStore()
        session["user"] = 43
        session.save()
        old = session.session_key
        session.cycle_key()
        self.assertFalse(SessionStore().exists(old))
        self.assertEqual(SessionStore(session.session_key)["user"], 43)


class DjangoRedisThroughAFailover(unittest.TestCase):
    def test_no_acknowledged_session_is_lost(self):
        """Guarantee: every session whose `save` returned is there afterwards, with its deadline."""
        keys = {}

        def send(number):
            session = SessionStore()
            session["number"] = number
            session.save()
            keys[number] = session.session_key

        with shard.Failover() as failover:
            acknowledged = shard.send_through(failover, send)
            self.assertEqual([SessionStore(keys[number])["number"] for number in acknowledged], acknowledged)
            for number in acknowledged:
                self.assertGreater(cache.ttl(f"django.contrib.sessions.cache{keys[number]}"), 1_200_000)
        print(f"django-redis: {len(acknowledged)} sessions acknowledged and kept")


if __name__ == "__main__":
    unittest.main(verbosity=2)
