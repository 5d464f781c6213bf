"""The tasks of test_celery.py, for the test and for its workers."""

import os
import time

import celery

import celery_primary
import shard

app = celery.Celery("jobs", **celery_primary.settings(os.environ["JOBS_NODES"]))
app.conf.update(
    broker_transport_options=app.conf.broker_transport_options
    # Seconds after which a task that nobody has acknowledged runs again, and how often that is checked.
    | {"visibility_timeout": 8, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def third_time(self, job):
    shard.record(os.environ["JOBS_RUNS"], f"try-{job}")
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task
def note(job):
    shard.record(os.environ["JOBS_RUNS"], job)
    return job


@app.task
def slow(job, seconds):
    time.sleep(seconds)
    shard.record(os.environ["JOBS_RUNS"], job)
