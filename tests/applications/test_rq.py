"""rq 3.0 on one shard. The environment sets the prefix of its keys before it is imported."""

import datetime
import os
import signal
import subprocess
import sys
import time
import unittest

import shard

# All keys of rq have this hash tag, because it changes several of them in one transaction.
os.environ["RQ_KEY_PREFIX"] = "{rq}"
RUNS = WORKER = QUEUE = None


def setUpModule():
    global RUNS, WORKER, QUEUE, jobs, rq
    RUNS = shard.Runs()
    os.environ |= {"JOBS_NODES": shard.nodes(), "JOBS_RUNS": RUNS.path}
    import rq

    import rq_jobs as jobs

    QUEUE = rq.Queue(connection=jobs.connection())
    WORKER = subprocess.Popen([sys.executable, "-W", "ignore", "rq_jobs.py"], cwd=shard.HERE)


def tearDownModule():
    if WORKER:
        WORKER.send_signal(signal.SIGTERM)
        WORKER.wait(timeout=60)
        RUNS.remove()


def result(job, timeout=60):
    """What a job returned."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        status = job.get_status(refresh=True)
        if status == rq.job.JobStatus.FINISHED:
            return job.return_value(refresh=True)
        if status == rq.job.JobStatus.FAILED:
            raise RuntimeError(job.latest_result().exc_string)
        time.sleep(0.05)
    raise TimeoutError(f"{job} is {status}")


class Rq(unittest.TestCase):
    def test_results_and_errors(self):
        enqueued = [QUEUE.enqueue(jobs.add, i, 1) for i in range(5)]
        self.assertEqual([result(job) for job in enqueued], list(range(1, 6)))
        with self.assertRaisesRegex(RuntimeError, "TypeError"):
            result(QUEUE.enqueue(jobs.add, 1, "x"))

    def test_retries(self):
        job = QUEUE.enqueue(jobs.third_time, "a", retry=rq.Retry(max=5))
        self.assertEqual(result(job), 3)

    def test_scheduled_jobs(self):
        began = time.monotonic()
        job = QUEUE.enqueue_in(datetime.timedelta(seconds=1), jobs.add, 1, 2)
        self.assertEqual(result(job), 3)
        self.assertGreaterEqual(time.monotonic() - began, 0.9)

    def test_dependencies(self):
        first = QUEUE.enqueue(jobs.note, "first")
        second = QUEUE.enqueue(jobs.ran, "first", depends_on=first)
        self.assertTrue(result(second))

    def test_unique_ids(self):
        QUEUE.enqueue(jobs.note, "unique", job_id="unique", unique=True)
        with self.assertRaises(rq.exceptions.DuplicateJobError):
            QUEUE.enqueue(jobs.note, "unique", job_id="unique", unique=True)


class RqThroughAFailover(unittest.TestCase):
    def test_every_acknowledged_job_runs(self):
        """Guarantee: at least once, for jobs with retries. rq moves a job into another list while it is fetched; its
        maintenance finds there, after a minute, the one whose answer was lost."""
        enqueued = {}

        def send(number):
            enqueued[number] = QUEUE.enqueue(jobs.note, number, retry=rq.Retry(max=3), result_ttl=600)

        with shard.Failover() as failover:
            later = QUEUE.enqueue_in(datetime.timedelta(seconds=5), jobs.note, "later")
            acknowledged = shard.send_through(failover, send, pause=0.1)
            twice = RUNS.wait_for([*acknowledged, "later"], timeout=120)
            self.assertEqual([result(enqueued[number]) for number in acknowledged], acknowledged)
            self.assertEqual(result(later), "later")
        print(f"rq: {len(acknowledged)} jobs acknowledged and done, {twice} of them more than once")


if __name__ == "__main__":
    unittest.main(verbosity=2)
