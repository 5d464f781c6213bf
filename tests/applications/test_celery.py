"""Celery 5.7: broker and result backend on one shard."""

import os
import signal
import subprocess
import sys
import time
import unittest

import shard

RUNS = WORKER = None


def setUpModule():
    global RUNS, WORKER, jobs, celery
    RUNS = shard.Runs()
    os.environ |= {"JOBS_NODES": shard.nodes(), "JOBS_RUNS": RUNS.path}
    import celery

    import celery_jobs as jobs

    arguments = ["-A", "celery_jobs", "worker", "--concurrency", "2", "--loglevel", "CRITICAL", "--without-gossip"]
    command = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet", *arguments]
    WORKER = subprocess.Popen(command, cwd=shard.HERE)
    # Until it has started, which takes long on a busy machine.
    jobs.add.delay(0, 0).get(timeout=120)


def tearDownModule():
    if WORKER:
        WORKER.send_signal(signal.SIGTERM)
        WORKER.wait(timeout=60)
        RUNS.remove()


class Celery(unittest.TestCase):
    def test_results(self):
        results = [jobs.add.delay(i, 1) for i in range(20)]
        self.assertEqual([result.get(timeout=60) for result in results], list(range(1, 21)))

    def test_retries(self):
        self.assertEqual(jobs.third_time.delay("a").get(timeout=60), 2)
        self.assertEqual(RUNS.counts()["try-a"], 3)

    def test_countdown(self):
        began = time.monotonic()
        self.assertEqual(jobs.add.apply_async((1, 2), countdown=1).get(timeout=60), 3)
        self.assertGreaterEqual(time.monotonic() - began, 0.9)

    def test_chain_group_and_chord(self):
        add, total = jobs.add, jobs.total
        self.assertEqual(celery.chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=60), 10)
        self.assertEqual(celery.group(add.s(i, i) for i in range(5))().get(timeout=60), [0, 2, 4, 6, 8])
        self.assertEqual(celery.chord((add.s(i, i) for i in range(5)), total.s())().get(timeout=60), 20)

    def test_errors_and_revocation(self):
        with self.assertRaises(TypeError):
            jobs.add.delay(1, "x").get(timeout=60)
        later = jobs.add.apply_async((1, 2), countdown=2)
        later.revoke()
        with self.assertRaises(celery.exceptions.TaskRevokedError):
            later.get(timeout=60)

    def test_control(self):
        self.assertEqual(len(jobs.app.control.ping(timeout=5, limit=1)), 1)


class CeleryThroughAFailover(unittest.TestCase):
    def test_every_acknowledged_task_runs(self):
        """Guarantee: at least once, for every task that waits or runs. Kombu fetches a task with BRPOP and keeps a copy
        with the next command: if the answer to that BRPOP is lost with the primary, so is the task, one per worker."""
        jobs.add.delay(1, 1).get(timeout=60)
        results = {}

        def send(job):
            results[job] = jobs.note.delay(job)

        with shard.Failover() as failover:
            acknowledged = shard.send_through(failover, send)
            twice = RUNS.wait_for(acknowledged, timeout=30, at_risk=1)
            done = [job for job in acknowledged if str(job) in RUNS.counts()]
            self.assertEqual([results[job].get(timeout=60) for job in done], done)
        print(f"celery: {len(acknowledged)} tasks acknowledged and done, {twice} of them more than once")

    def test_tasks_of_later_and_chords_are_kept(self):
        """What was accepted before the failover runs after it: tasks that wait for their time, the end of a chord."""
        later = [jobs.note.apply_async((f"later-{i}",), countdown=6) for i in range(5)]
        chord = celery.chord((jobs.slow.s(f"slow-{i}", 1) for i in range(6)), jobs.note.si("chord"))()
        with shard.Failover(after=1.5):
            self.assertEqual(chord.get(timeout=90), "chord")
            self.assertEqual([task.get(timeout=60) for task in later], [f"later-{i}" for i in range(5)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
