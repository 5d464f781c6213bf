"""arq on one shard. arq has fixed names for its keys and no option for the class of its connections.

    import arq_primary

    pool = arq_primary.pool("db-1:6379,db-2:6379,db-3:6379")
    worker = Worker(functions, redis_pool=pool, queue_name=arq_primary.QUEUE)
"""

import arq.connections
import arq.jobs
import arq.worker
import redis.asyncio

from primary import AsyncPrimaryConnection, retry

# All keys of arq have this hash tag, because it changes several of them in one transaction.
TAG = "{arq}:"
QUEUE = f"{TAG}queue"
NAMES = ["abort_jobs_ss", "in_progress_key_prefix", "job_key_prefix", "result_key_prefix", "retry_key_prefix"]

for module in (arq.connections, arq.jobs, arq.worker):
    for name in NAMES:
        if hasattr(module, name) and not getattr(module, name).startswith(TAG):
            setattr(module, name, TAG + getattr(module, name))


def pool(nodes):
    """What arq's create_pool returns, with connections that find the primary."""
    connections = redis.asyncio.ConnectionPool(
        connection_class=AsyncPrimaryConnection,
        nodes=nodes,
        retry=retry(cls=redis.asyncio.retry.Retry),
        # redis-py 5 retries only what is listed.
        retry_on_error=[redis.exceptions.ConnectionError, redis.exceptions.TimeoutError],
    )
    return arq.connections.ArqRedis(connections, default_queue_name=QUEUE)
