"""Celery's broker and result backend on one shard: both find the primary (`primary.py`).

    import celery_primary

    nodes = "db-1:6379,db-2:6379,db-3:6379"
    app = Celery("proj", **celery_primary.settings(nodes))

The connections have no retries of redis-py, because Celery retries by itself: a worker has to know that a connection
was lost, to subscribe and to fetch again; and whoever waits for results asks for those that it missed.
"""

import celery.backends.redis
import kombu.transport
import kombu.transport.redis

from primary import PrimaryConnection, PrimarySslConnection

# `primary://` in broker_url; the backend's URL names its class.
kombu.transport.TRANSPORT_ALIASES["primary"] = "celery_primary:Transport"


class Channel(kombu.transport.redis.Channel):
    """Kombu's channel, whose connections take the addresses of all replicas."""

    connection_class = PrimaryConnection
    connection_class_ssl = PrimarySslConnection
    nodes = None
    from_transport_options = kombu.transport.redis.Channel.from_transport_options + ("nodes",)

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._known = super()._connparams() | {"nodes": self.nodes}

    def _connparams(self, asynchronous=False):
        if self.connection.client is None:
            # A channel whose connection was lost gives back what was not acknowledged. Kombu 5.7 has forgotten by then
            # where to, and ends the worker.
            return dict(self._known)
        return super()._connparams(asynchronous) | {"nodes": self.nodes}


class Transport(kombu.transport.redis.Transport):
    """Kombu's transport for Redis, with the channel above."""

    Channel = Channel


class Backend(celery.backends.redis.RedisBackend):
    """Celery's result backend for Redis, whose connections take the addresses of all replicas."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        nodes = self.app.conf.result_backend_transport_options["nodes"]
        self.connparams |= {"connection_class": PrimaryConnection, "nodes": nodes}


def settings(nodes, prefix="{celery}:"):
    """What Celery has to be told. All keys have one hash tag, since a task, a chord and a queue are several keys."""
    return {
        "broker_url": "primary://",
        "broker_transport_options": {"nodes": nodes, "global_keyprefix": prefix, "visibility_timeout": 3600},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # For about 15 s, which is longer than an election.
        "task_publish_retry_policy": {
            "max_retries": 30,
            "interval_start": 0.05,
            "interval_step": 0.1,
            "interval_max": 0.5,
        },
        "result_backend": "celery_primary:Backend+redis://",
        "result_backend_transport_options": {"nodes": nodes, "global_keyprefix": prefix},
        # Or a task fails because its result could not be stored.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 60,
        "result_backend_base_sleep_between_retries_ms": 50,
        "result_backend_max_sleep_between_retries_ms": 500,
        # A task counts as done when it has run, not when it was fetched.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
    }
