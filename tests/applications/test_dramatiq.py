"""dramatiq 2.2: broker and results on one shard."""

import logging
import time
import unittest
import uuid

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from dramatiq.results.errors import ResultFailure

import shard

RUNS = BROKER = None


def setUpModule():
    global RUNS, BROKER, add, third_time, note
    # Of the messages that fail on purpose.
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL)
    RUNS = shard.Runs()
    client = shard.client()
    # The scripts of dramatiq make the names of their keys from the namespace.
    BROKER = RedisBroker(client=client, namespace="{dramatiq}", heartbeat_timeout=5000, maintenance_chance=100_000)
    BROKER.add_middleware(Results(backend=RedisBackend(client=client)))
    BROKER.add_middleware(CurrentMessage())
    dramatiq.set_broker(BROKER)

    @dramatiq.actor(store_results=True, max_retries=0)
    def add(a, b):
        return a + b

    @dramatiq.actor(store_results=True, max_retries=5, min_backoff=50, max_backoff=100)
    def third_time(job):
        shard.record(RUNS.path, f"try-{job}")
        if RUNS.counts()[f"try-{job}"] < 3:
            raise RuntimeError("again")
        return RUNS.counts()[f"try-{job}"]

    @dramatiq.actor(store_results=True)
    def note(job):
        shard.record(RUNS.path, job)
        return job


def tearDownModule():
    if RUNS:
        RUNS.remove()


class Worker:
    """dramatiq's worker, in threads of this process."""

    def __enter__(self):
        self.worker = dramatiq.Worker(BROKER, worker_timeout=100, worker_threads=2)
        self.worker.start()
        return self

    def __exit__(self, *_):
        self.worker.stop()


class Dramatiq(unittest.TestCase):
    def test_results_retries_and_errors(self):
        with Worker():
            messages = [add.send(i, 1) for i in range(20)]
            self.assertEqual([m.get_result(block=True, timeout=30_000) for m in messages], list(range(1, 21)))
            self.assertEqual(third_time.send("a").get_result(block=True, timeout=30_000), 3)
            with self.assertRaises(ResultFailure):
                add.send(1, "x").get_result(block=True, timeout=30_000)
            BROKER.join(add.queue_name, timeout=30_000)

    def test_delay(self):
        with Worker():
            began = time.monotonic()
            message = add.send_with_options(args=(1, 2), delay=1000)
            self.assertEqual(message.get_result(block=True, timeout=30_000), 3)
            self.assertGreaterEqual(time.monotonic() - began, 0.9)

    def test_pipeline_and_group(self):
        with Worker():
            chain = dramatiq.pipeline([add.message(1, 2), add.message(3), add.message(4)]).run()
            self.assertEqual(chain.get_result(block=True, timeout=30_000), 10)
            group = dramatiq.group(add.message(i, i) for i in range(5)).run()
            self.assertEqual(list(group.get_results(block=True, timeout=30_000)), [0, 2, 4, 6, 8])


class DramatiqThroughAFailover(unittest.TestCase):
    def have_run(self, jobs):
        """Whether all run while the worker lives on."""
        try:
            RUNS.wait_for(jobs, timeout=20)
        except AssertionError as error:
            print(f"dramatiq: {error}; the worker restarts")
            return False
        return True

    def test_every_acknowledged_message_runs(self):
        """Guarantee: at least once. dramatiq keeps a message until its worker has acknowledged it. A message that was
        fetched with an answer that was lost runs when its worker has restarted and its heartbeat has timed out."""
        messages = {}

        def send(job):
            messages[job] = note.send(job)

        with shard.Failover() as failover, Worker():
            later = [note.send_with_options(args=(f"later-{i}",), delay=5000) for i in range(3)]
            acknowledged = shard.send_through(failover, send)
            all_jobs = [*acknowledged, "later-0", "later-1", "later-2"]
            stuck = not self.have_run(all_jobs)
        if stuck:
            # A new process has a new id.
            BROKER.broker_id = str(uuid.uuid4())
        with Worker():
            twice = RUNS.wait_for(all_jobs)
            results = [messages[job].get_result(block=True, timeout=30_000) for job in acknowledged]
            self.assertEqual(results, acknowledged)
            self.assertEqual(later[2].get_result(block=True, timeout=30_000), "later-2")
        print(f"dramatiq: {len(acknowledged)} messages acknowledged and done, {twice} of them more than once")


if __name__ == "__main__":
    unittest.main(verbosity=2)
