"""Connections that find the primary of one shard, for applications whose client knows one address only.

A copy of this file is all that an application needs. Give a connection pool one of these classes and the addresses of
all replicas of the shard, in any order:

    pool = redis.ConnectionPool(
        connection_class=PrimaryConnection, nodes="db-1:6379,db-2:6379,db-3:6379", retry=retry(), socket_timeout=5
    )
    client = redis.Redis(connection_pool=pool)

A connection asks each node for its ROLE and stays with the one that is the primary. It is closed, and looks again, when
the node turns out not to be the primary any more. Error replies of a failover (`MOVED`, `CLUSTERDOWN`, `UNKNOWN`,
`UNBLOCKED`, `READONLY`) are then raised as the library's ConnectionError, which libraries and applications know how to
retry.

What a retry means: a command whose answer was lost is sent again, so it may take effect twice. That is what redis-py
does by default, with any server.
"""

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

# Error replies after which another node is, or will be, the primary: their codes, or the exceptions that a library
# makes of them. `UNKNOWN` leaves it open whether the write happened, as a lost connection does; the others mean that
# nothing was done.
FAILOVER_CODES = ("UNKNOWN", "UNBLOCKED", "MOVED", "CLUSTERDOWN", "READONLY")
FAILOVER_ERRORS = {"MovedError", "ClusterDownError", "ReadOnlyError", "TryAgainError"}


def retry(seconds=15, cls=Retry):
    """Retries for about so many seconds: 50 ms after the first failure, later twice a second."""
    return cls(ExponentialBackoff(base=0.05, cap=0.5), retries=4 + int(seconds * 2))


def addresses(nodes):
    """Hosts and ports of `host:port,host:port`."""
    pairs = [node.strip().rpartition(":") for node in nodes.split(",")]
    return [(host.strip("[]"), int(port)) for host, _, port in pairs]


def is_failover(error):
    """Whether an error reply means that this node cannot act as the primary now."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & FAILOVER_ERRORS) or str(error).startswith(FAILOVER_CODES)


def is_primary(reply):
    """Whether a reply to ROLE is that of a primary."""
    return reply[0] in (b"master", "master")


class Nodes:
    """The replicas of a shard, as one connection knows them, and what is common to both kinds of connections."""

    # The module of the library's exceptions.
    errors = redis.exceptions

    def __init__(self, nodes, **options):
        self._addresses = addresses(nodes)
        for ignored in ("host", "port"):
            options.pop(ignored, None)
        host, port = self._addresses[0]
        super().__init__(host=host, port=port, **options)

    def _failed(self, problems, error):
        """Notes why a node is none to stay with; the next attempt begins with the one after it."""
        problems.append(str(error))
        self._addresses.append(self._addresses.pop(0))

    def _no_primary(self, problems):
        return self.errors.ConnectionError(f"no primary: {'; '.join(problems)}")

    def _check(self, role):
        if not is_primary(role):
            raise self.errors.ConnectionError(f"{self.host}:{self.port} is not the primary")

    def _lost(self, error):
        return self.errors.ConnectionError(f"{self.host}:{self.port}: {type(error).__name__} {error}")


class FollowsPrimary(Nodes):
    """What PrimaryConnection adds to a connection of redis-py 6 or newer."""

    def connect_check_health(self, check_health=True, retry_socket_connect=True):
        """Connects to the node that says that it is the primary. The retries of the pool call it again."""
        problems = []
        for address in list(self._addresses):
            if self._sock:
                return
            self.host, self.port = address
            try:
                super().connect_check_health(check_health=check_health, retry_socket_connect=False)
            except (self.errors.ConnectionError, self.errors.TimeoutError) as error:
                self._failed(problems, error)
        if not self._sock:
            raise self._no_primary(problems)

    def on_connect_check_health(self, check_health=True):
        # Before the subscriptions of a lost connection are made again.
        super().on_connect_check_health(check_health=check_health)
        self.send_command("ROLE", check_health=False)
        self._check(self.read_response())

    def read_response(self, *args, **options):
        try:
            return super().read_response(*args, **options)
        except self.errors.ResponseError as error:
            if not is_failover(error):
                raise
            self.disconnect()
            raise self._lost(error) from error


class PrimaryConnection(FollowsPrimary, redis.Connection):
    """A connection to the primary, in plaintext."""


class PrimarySslConnection(FollowsPrimary, redis.SSLConnection):
    """A connection to the primary, over TLS (`ssl_ca_certs` and so on)."""


class FollowsPrimaryAsync(Nodes):
    """What AsyncPrimaryConnection adds to an asyncio connection of redis-py 5 or newer."""

    async def connect(self):
        if hasattr(super(), "connect_check_health"):
            return await super().connect()
        # redis-py 5: the retries of super().connect() would all go to the same node.
        one_try = type(self.retry)(NoBackoff(), 0)
        all_tries, self.retry = self.retry, one_try
        try:
            await all_tries.call_with_retry(lambda: self._search(super(FollowsPrimaryAsync, self).connect), self._again)
        finally:
            self.retry = all_tries

    async def connect_check_health(self, check_health=True, retry_socket_connect=True):
        connect = super().connect_check_health
        await self._search(lambda: connect(check_health=check_health, retry_socket_connect=False))

    async def _again(self, *_):
        await self.disconnect()

    async def _search(self, connect):
        problems = []
        for address in list(self._addresses):
            if self.is_connected:
                return
            self.host, self.port = address
            try:
                await connect()
            except (self.errors.ConnectionError, self.errors.TimeoutError) as error:
                self._failed(problems, error)
        if not self.is_connected:
            raise self._no_primary(problems)

    async def on_connect(self):
        # redis-py 5
        await super().on_connect()
        await self._check_role()

    async def on_connect_check_health(self, check_health=True):
        await super().on_connect_check_health(check_health=check_health)
        await self._check_role()

    async def _check_role(self):
        await self.send_command("ROLE", check_health=False)
        self._check(await self.read_response())

    async def read_response(self, *args, **options):
        try:
            return await super().read_response(*args, **options)
        except self.errors.ResponseError as error:
            if not is_failover(error):
                raise
            await self.disconnect()
            raise self._lost(error) from error


class AsyncPrimaryConnection(FollowsPrimaryAsync, redis.asyncio.Connection):
    """An asyncio connection to the primary, in plaintext."""


class AsyncPrimarySslConnection(FollowsPrimaryAsync, redis.asyncio.SSLConnection):
    """An asyncio connection to the primary, over TLS."""
