"""huey 3.5 on one shard."""

import datetime
import logging
import time
import unittest

import huey
from huey.exceptions import TaskException

import primary_once
import redis
import shard
from primary import PrimaryConnection, retry

RUNS = None
QUEUE = None
WORKERS = 2


class Later(Exception):
    """A task that has to be tried again."""


def setUpModule():
    global RUNS, QUEUE, add, third_time, note, once
    # Of the tasks that fail on purpose.
    logging.getLogger("huey").setLevel(logging.CRITICAL)
    RUNS = shard.Runs()
    pool = redis.ConnectionPool(connection_class=PrimaryConnection, nodes=shard.nodes(), retry=retry())
    # clean_name: or the braces of the hash tag are removed.
    QUEUE = huey.RedisHuey("{huey}", connection_pool=pool, clean_name=False)

    @QUEUE.task()
    def add(a, b):
        return a + b

    @QUEUE.task(retries=3)
    def third_time(job):
        shard.record(RUNS.path, f"try-{job}")
        if RUNS.counts()[f"try-{job}"] < 3:
            raise Later
        return RUNS.counts()[f"try-{job}"]

    @QUEUE.task()
    def note(job):
        shard.record(RUNS.path, job)
        return job

    @QUEUE.lock_task("{huey}-lock")
    def once():
        return True


def tearDownModule():
    if RUNS:
        RUNS.remove()


class Consumer:
    """huey's consumer, as `huey_consumer` runs it, in threads of this process. Signals are not for threads."""

    def __init__(self, queue=None):
        self.queue = queue or QUEUE

    def __enter__(self):
        options = {"periodic": False, "scheduler_interval": 0.1, "initial_delay": 0.01}
        self.consumer = self.queue.create_consumer(workers=WORKERS, **options)
        self.consumer._set_signal_handlers = lambda: None
        self.consumer.start()
        return self

    def __exit__(self, *_):
        self.consumer.stop(graceful=True)


class Huey(unittest.TestCase):
    def test_results_retries_and_errors(self):
        with Consumer():
            results = [add(i, 1) for i in range(20)]
            self.assertEqual([result.get(blocking=True, timeout=30) for result in results], list(range(1, 21)))
            # huey reports the failed attempts until the last one succeeds.
            last = third_time("a")
            until = time.monotonic() + 30
            while RUNS.counts().get("try-a", 0) < 3 and time.monotonic() < until:
                time.sleep(0.05)
            self.assertEqual(RUNS.counts()["try-a"], 3)
            last.reset()
            with self.assertRaises(TaskException):
                add(1, "x").get(blocking=True, timeout=30)

    def test_schedule_and_revocation(self):
        with Consumer():
            began = time.monotonic()
            later = add.schedule((1, 2), delay=1)
            never = note.schedule(("never",), delay=1)
            never.revoke()
            self.assertEqual(later.get(blocking=True, timeout=30), 3)
            self.assertGreaterEqual(time.monotonic() - began, 0.9)
            time.sleep(0.5)
            self.assertNotIn("never", RUNS.counts())

    def test_pipeline(self):
        with Consumer():
            chain = add.s(1, 2).then(add, 3).then(add, 4)
            results = QUEUE.enqueue(chain)
            self.assertEqual(results.get(blocking=True, timeout=30), [3, 6, 10])

    def test_lock(self):
        with QUEUE.lock_task("{huey}-lock"):
            with self.assertRaises(huey.exceptions.TaskLockedException):
                once()
        self.assertTrue(once())


class HueyThroughAFailover(unittest.TestCase):
    def test_every_acknowledged_task_that_waits_runs(self):
        """Guarantee: no acknowledged task is lost while it waits. huey removes a task when it fetches it: if the answer
        to the BRPOP of a worker is lost with the primary, so is the task, one per worker at most."""
        with shard.Failover() as failover, Consumer():
            eta = datetime.datetime.now() + datetime.timedelta(seconds=6)
            for job in ["later-1", "later-2"]:
                note.schedule((job,), eta=eta)
            acknowledged = shard.send_through(failover, note)
            twice = RUNS.wait_for([*acknowledged, "later-1", "later-2"], timeout=30, at_risk=WORKERS)
        print(f"huey: {len(acknowledged)} tasks acknowledged and done, {twice} of them more than once")

    def test_with_idempotency_keys_every_acknowledged_task_runs_exactly_once(self):
        """With `primary_once.py` a BRPOP whose answer was lost returns the same task again."""
        if shard.ON_VALKEY:
            self.skipTest("SKIPPED: a real Valkey has no idempotency keys")
        pool = redis.ConnectionPool(
            connection_class=primary_once.OncePrimaryConnection, nodes=shard.nodes(), retry=primary_once.once()
        )
        queue = huey.RedisHuey("{huey-once}", connection_pool=pool, clean_name=False)

        @queue.task()
        def note_once(job):
            shard.record(RUNS.path, job)

        with shard.Failover() as failover, Consumer(queue):
            acknowledged = shard.send_through(failover, lambda job: note_once(f"once-{job}"))
            jobs = [f"once-{job}" for job in acknowledged]
            RUNS.wait_for(jobs)
        self.assertEqual({job: RUNS.counts()[job] for job in jobs}, dict.fromkeys(jobs, 1))
        print(f"huey: {len(acknowledged)} tasks acknowledged and done, each once")


if __name__ == "__main__":
    unittest.main(verbosity=2)
