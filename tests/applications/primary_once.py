"""`primary.py` with idempotency keys: a write that is sent again takes effect once, and is answered as the first time.

    pool = redis.ConnectionPool(
        connection_class=OncePrimaryConnection, nodes="db-1:6379,db-2:6379,db-3:6379", retry=once(), socket_timeout=5
    )

Each call of the client gets a key, and keeps it however often redis-py repeats it. That includes what takes something
away: a BRPOP whose answer was lost returns the same element again. Only Fastness understands the keys. The bounds:

- A call that fails after all retries is not repeated any more: whoever calls it again sends another write.
- The reply to a write may be 64 KiB long. A write with a longer one (a pop of a larger element) is refused, not done.
- A write is recognised for 10 minutes.
"""

import time
import uuid

from redis.retry import Retry

from primary import PrimaryConnection, PrimarySslConnection, retry


def once(seconds=15):
    """As `primary.retry`, and each call has a key of its own."""
    return retry(seconds, cls=OnceRetry)


class OnceRetry(Retry):
    """Retries of one connection, which knows which call is being tried. Connections copy the one that they are given."""

    # Who sends: a connection has one call at a time. Sequence numbers are times in microseconds, so that they grow.
    client = None
    sequence = 0
    used = 0
    trying = False

    def call_with_retry(self, *args, **options):
        if self.trying:
            # A connection that is made within a call.
            return super().call_with_retry(*args, **options)
        self.client = self.client or uuid.uuid4().hex
        self.sequence = max(self.sequence + self.used, int(time.time() * 1e6))
        self.used, self.trying = 0, True
        try:
            return super().call_with_retry(*args, **options)
        finally:
            self.trying = False

    def attribute(self, index):
        """What goes before the command with this index in the call."""
        self.used = max(self.used, index + 1)
        key = f"{self.client}:{self.sequence + index}".encode()
        return b"|1\r\n$15\r\nidempotency-key\r\n$%d\r\n%s\r\n" % (len(key), key)


class SendsKeys:
    """What OncePrimaryConnection adds to PrimaryConnection."""

    connecting = False

    def connect_check_health(self, *args, **options):
        self.connecting = True
        try:
            super().connect_check_health(*args, **options)
        finally:
            self.connecting = False

    def has_key(self):
        """Whether what is being sent belongs to a call. Commands that set up a connection, and subscriptions, do not."""
        return not self.connecting and self.retry.trying

    def send_command(self, *args, **options):
        if not self.has_key() or args[0] in ("SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE"):
            return super().send_command(*args, **options)
        packed = [self.retry.attribute(0), *self.pack_command(*args)]
        return self.send_packed_command(packed, check_health=options.get("check_health", True))

    def pack_commands(self, commands):
        commands = list(commands)
        if not self.has_key():
            return super().pack_commands(commands)
        # A transaction has one key, before its EXEC; commands of a pipeline have one each.
        in_transaction = bool(commands) and commands[0][0] == "MULTI"
        packed = []
        for index, command in enumerate(commands):
            if not in_transaction:
                packed.append(self.retry.attribute(index))
            elif command[0] == "EXEC":
                packed.append(self.retry.attribute(0))
            packed.extend(self.pack_command(*command))
        return [b"".join(packed)]


class OncePrimaryConnection(SendsKeys, PrimaryConnection):
    """A connection to the primary, in plaintext."""


class OncePrimarySslConnection(SendsKeys, PrimarySslConnection):
    """A connection to the primary, over TLS."""
