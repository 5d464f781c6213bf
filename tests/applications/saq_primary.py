"""saq on one shard.

    import saq_primary

    queue = saq_primary.queue("db-1:6379,db-2:6379,db-3:6379")
"""

import redis.asyncio
import saq.job
from saq.queue.redis import RedisQueue

from primary import AsyncPrimaryConnection, retry

# The key that marks a job as aborted does not name the queue, and so has no hash tag; saq uses it together with others.
saq.job.Job.abort_id = property(lambda job: f"{saq.job.ABORT_ID_PREFIX}{job.id}")


def queue(nodes, name="{saq}"):
    """A queue whose keys have one hash tag, with connections that find the primary."""
    pool = redis.asyncio.ConnectionPool(
        connection_class=AsyncPrimaryConnection, nodes=nodes, retry=retry(cls=redis.asyncio.retry.Retry)
    )
    return RedisQueue(redis.asyncio.Redis(connection_pool=pool), name=name)
