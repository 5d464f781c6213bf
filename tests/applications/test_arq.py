"""arq 0.28 on one shard. It needs no scripts. It runs with redis-py 5, in a venv of its own."""

import asyncio
import datetime
import logging
import time
import unittest

import arq
import arq.jobs

import arq_primary
import shard

RUNS = None


def setUpModule():
    global RUNS
    logging.getLogger("arq").setLevel(logging.CRITICAL)
    RUNS = shard.Runs()
    shard.shard()


def tearDownModule():
    if RUNS:
        RUNS.remove()


async def add(_, a, b):
    return a + b


async def third_time(ctx, job):
    shard.record(RUNS.path, f"try-{job}")
    if ctx["job_try"] < 3:
        raise arq.Retry(defer=0.1)
    return ctx["job_try"]


async def note(_, job):
    shard.record(RUNS.path, job)
    return job


class Worker:
    """arq's worker in the event loop of the test, and a pool for whoever enqueues jobs."""

    async def __aenter__(self):
        self.pool = arq_primary.pool(shard.nodes())
        self.restarts = 0
        self.task = asyncio.create_task(self.supervise())
        return self

    async def supervise(self):
        """Starts the worker again when it ends with an error, as systemd does: arq's worker ends when a connection is
        lost between its WATCH and its EXEC."""
        while True:
            options = {"poll_delay": 0.05, "job_timeout": 5, "handle_signals": False}
            pool = arq_primary.pool(shard.nodes())
            worker = arq.Worker([add, third_time, note], redis_pool=pool, queue_name=arq_primary.QUEUE, **options)
            try:
                await worker.async_run()
            except Exception as error:  # noqa: BLE001 - whatever it was
                print(f"arq: the worker ended with {type(error).__name__}: {error}")
                self.restarts += 1
            finally:
                # It cancels its jobs and raises what they do.
                await asyncio.gather(worker.close(), return_exceptions=True)

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.pool.aclose()

    async def run(self, *job, **options):
        enqueued = await self.pool.enqueue_job(*job, **options)
        return await enqueued.result(timeout=30, poll_delay=0.05)


class Arq(unittest.IsolatedAsyncioTestCase):
    async def test_results_retries_and_errors(self):
        async with Worker() as worker:
            self.assertEqual(await asyncio.gather(*(worker.run("add", i, 1) for i in range(10))), list(range(1, 11)))
            self.assertEqual(await worker.run("third_time", "a"), 3)
            self.assertEqual(RUNS.counts()["try-a"], 3)
            with self.assertRaises(TypeError):
                await worker.run("add", 1, "x")

    async def test_deferred_and_unique_jobs(self):
        async with Worker() as worker:
            began = time.monotonic()
            second = datetime.timedelta(seconds=1)
            job = await worker.pool.enqueue_job("note", "later", _job_id="unique", _defer_by=second)
            self.assertEqual(await job.status(), arq.jobs.JobStatus.deferred)
            self.assertIsNone(await worker.pool.enqueue_job("note", "again", _job_id="unique"))
            self.assertEqual(await job.result(timeout=30, poll_delay=0.05), "later")
            self.assertGreaterEqual(time.monotonic() - began, 0.9)
            self.assertEqual((await job.result_info()).success, True)


class ArqThroughAFailover(unittest.IsolatedAsyncioTestCase):
    async def test_every_acknowledged_job_runs(self):
        """Guarantee: at least once. arq removes a job from its queue after it has run. `enqueue_job` returns None when
        a job with this id exists, and also when the connection was lost: the job is not acknowledged then."""
        jobs = {}
        loop = asyncio.get_running_loop()
        with shard.Failover() as failover:
            async with Worker() as worker:

                async def send(number):
                    jobs[number] = await worker.pool.enqueue_job("note", number)
                    if jobs[number] is None:
                        raise RuntimeError("enqueue_job returned None")

                def send_from_thread(number):
                    asyncio.run_coroutine_threadsafe(send(number), loop).result(60)

                later = await worker.pool.enqueue_job("note", "later-1", _defer_by=5)
                acknowledged = await asyncio.to_thread(shard.send_through, failover, send_from_thread)
                twice = await asyncio.to_thread(RUNS.wait_for, [*acknowledged, "later-1"])
                for number in acknowledged:
                    self.assertEqual(await jobs[number].result(timeout=30, poll_delay=0.05), number)
                self.assertEqual(await later.result(timeout=30), "later-1")
        print(f"arq: {len(acknowledged)} jobs acknowledged and done, {twice} of them more than once,", end=" ")
        print(f"{worker.restarts} restarts of the worker")


if __name__ == "__main__":
    unittest.main(verbosity=2)
