"""The jobs of test_rq.py, and its worker."""

import os

import redis

import shard
from primary import PrimaryConnection, retry

RUNS = os.environ["JOBS_RUNS"]


def connection():
    pool = redis.ConnectionPool(connection_class=PrimaryConnection, nodes=os.environ["JOBS_NODES"], retry=retry())
    return redis.Redis(connection_pool=pool)


def runs(job):
    with open(RUNS) as file:
        return file.read().split().count(job)


def add(a, b):
    return a + b


def third_time(job):
    shard.record(RUNS, f"try-{job}")
    if runs(f"try-{job}") < 3:
        raise RuntimeError("again")
    return runs(f"try-{job}")


def note(job):
    shard.record(RUNS, job)
    return job


def ran(job):
    return runs(job) > 0


if __name__ == "__main__":
    import rq

    # By its own name, under which the queue knows the functions.
    import rq_jobs

    # Runs jobs in its own process, as `rq worker --worker-class rq.SimpleWorker` does: a fork per job takes longer.
    worker = rq.SimpleWorker(["default"], connection=rq_jobs.connection(), maintenance_interval=5)
    worker.work(with_scheduler=True, logging_level="CRITICAL")
