"""`primary.py` for applications that use valkey-py."""

import valkey
from valkey.backoff import NoBackoff
from valkey.retry import Retry

import primary


def retry(seconds=15):
    """Retries for about so many seconds, as `primary.retry`."""
    return primary.retry(seconds, cls=Retry)


class ValkeyPrimaryConnection(primary.Nodes, valkey.Connection):
    """A connection of valkey-py to the primary of one shard, in plaintext."""

    errors = valkey.exceptions

    def connect(self):
        # The retries of super().connect() would all go to the same node.
        all_tries, self.retry = self.retry, Retry(NoBackoff(), 0)
        try:
            all_tries.call_with_retry(self._search, lambda _: self.disconnect())
        finally:
            self.retry = all_tries

    def _search(self):
        problems = []
        for address in list(self._addresses):
            if self._sock:
                return
            self.host, self.port = address
            try:
                super().connect()
            except (self.errors.ConnectionError, self.errors.TimeoutError) as error:
                self._failed(problems, error)
        if not self._sock:
            raise self._no_primary(problems)

    def on_connect(self):
        super().on_connect()
        self.send_command("ROLE", check_health=False)
        self._check(self.read_response())

    def read_response(self, *args, **options):
        try:
            return super().read_response(*args, **options)
        except self.errors.ResponseError as error:
            if not primary.is_failover(error):
                raise
            self.disconnect()
            raise self._lost(error) from error
