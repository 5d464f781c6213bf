"""saq 0.26 on one shard."""

import asyncio
import logging
import time
import unittest

import saq

import saq_primary
import shard

RUNS = None


def setUpModule():
    global RUNS
    # Of the jobs that fail on purpose.
    logging.getLogger("saq").setLevel(logging.CRITICAL)
    RUNS = shard.Runs()


def tearDownModule():
    if RUNS:
        RUNS.remove()


async def add(_, *, a, b):
    return a + b


async def third_time(ctx, *, job):
    shard.record(RUNS.path, f"try-{job}")
    if ctx["job"].attempts < 3:
        raise RuntimeError("again")
    return ctx["job"].attempts


async def note(_, *, job):
    shard.record(RUNS.path, job)
    return job


class Worker:
    """saq's worker in the event loop of the test."""

    async def __aenter__(self):
        self.queue = saq_primary.queue(shard.nodes())
        # `sweep` finds jobs whose worker, or whose answer, was lost.
        self.worker = saq.Worker(
            self.queue, [add, third_time, note], concurrency=2, dequeue_timeout=2, timers={"sweep": 2, "schedule": 1}
        )
        self.task = asyncio.create_task(self.worker.start())
        return self

    async def __aexit__(self, *_):
        await self.worker.stop()
        await self.task
        await self.queue.disconnect()


class Saq(unittest.IsolatedAsyncioTestCase):
    async def test_results_retries_and_errors(self):
        async with Worker() as worker:
            numbers = await worker.queue.map("add", [{"a": i, "b": 1} for i in range(20)], timeout=30)
            self.assertEqual(numbers, list(range(1, 21)))
            self.assertEqual(await worker.queue.apply("third_time", job="a", retries=5, timeout=30), 3)
            self.assertEqual(RUNS.counts()["try-a"], 3)
            with self.assertRaises(saq.queue.JobError):
                await worker.queue.apply("add", a=1, b="x", timeout=30)

    async def test_schedule_unique_keys_and_abort(self):
        async with Worker() as worker:
            began = time.time()
            job = await worker.queue.enqueue("note", job="later", key="unique", scheduled=int(began) + 2)
            self.assertIsNone(await worker.queue.enqueue("note", job="again", key="unique"))
            never = await worker.queue.enqueue("note", job="never", scheduled=int(began) + 2)
            await never.abort("not wanted")
            await job.refresh(30)
            self.assertEqual(job.result, "later")
            self.assertGreaterEqual(time.time() - began, 1)
            await asyncio.sleep(0.5)
            self.assertNotIn("never", RUNS.counts())


class SaqThroughAFailover(unittest.IsolatedAsyncioTestCase):
    async def test_every_acknowledged_job_runs(self):
        """Guarantee: at least once, for jobs with `retries` of 2 or more. A job whose answer was lost on the way to a
        worker is found by the sweep."""
        jobs = {}
        loop = asyncio.get_running_loop()
        with shard.Failover() as failover:
            async with Worker() as worker:

                async def send(number):
                    job = await worker.queue.enqueue("note", job=number, retries=5, timeout=5, ttl=600)
                    if job is None:
                        raise RuntimeError("not enqueued")
                    jobs[number] = job

                def send_from_thread(number):
                    asyncio.run_coroutine_threadsafe(send(number), loop).result(60)

                acknowledged = await asyncio.to_thread(shard.send_through, failover, send_from_thread)
                twice = await asyncio.to_thread(RUNS.wait_for, acknowledged)
                for number in acknowledged:
                    await jobs[number].refresh(30)
                self.assertEqual([jobs[number].result for number in acknowledged], acknowledged)
        print(f"saq: {len(acknowledged)} jobs acknowledged and done, {twice} of them more than once")


if __name__ == "__main__":
    unittest.main(verbosity=2)
