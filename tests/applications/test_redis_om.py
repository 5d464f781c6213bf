"""redis-om 1.2 on one shard, as far as it needs no search: hash models by primary key, with deadlines."""

import time
import unittest

import redis_om

import shard


class Account(redis_om.HashModel, index=True):
    name: str
    balance: int

    class Meta:
        global_key_prefix = "om"


class Token(redis_om.HashModel, index=True):
    text: str

    class Meta:
        global_key_prefix = "om"


def setUpModule():
    Account.Meta.database = Token.Meta.database = shard.client(decode_responses=True)


class RedisOm(unittest.TestCase):
    def test_save_get_update_and_delete(self):
        account = Account(name="Ada", balance=5)
        account.save()
        self.assertEqual(Account.get(account.pk), account)
        account.update(balance=6)
        self.assertEqual(Account.get(account.pk).balance, 6)
        self.assertEqual(Account.delete(account.pk), 1)
        with self.assertRaises(redis_om.NotFoundError):
            Account.get(account.pk)

    def test_expiry_and_all_keys(self):
        tokens = [Token(text=str(i)) for i in range(5)]
        for token in tokens:
            token.save()
        self.assertLessEqual({token.pk for token in tokens}, set(Token.all_pks()))
        tokens[0].expire(1)
        time.sleep(1.2)
        with self.assertRaises(redis_om.NotFoundError):
            Token.get(tokens[0].pk)

    def test_a_pipeline(self):
        pipe = Account.db().pipeline(transaction=False)
        accounts = [Account(name=f"n{i}", balance=i) for i in range(5)]
        for account in accounts:
            account.save(pipeline=pipe)
        pipe.execute()
        self.assertEqual([Account.get(account.pk).balance for account in accounts], list(range(5)))


class RedisOmThroughAFailover(unittest.TestCase):
    def test_no_acknowledged_object_is_lost(self):
        """Guarantee: every object whose `save` returned is there afterwards. It is written whole, so a retry changes
        nothing."""
        saved = {}

        def send(number):
            saved[number] = Account(name="n", balance=number).save()

        with shard.Failover() as failover:
            acknowledged = shard.send_through(failover, send)
            self.assertEqual([Account.get(saved[number].pk).balance for number in acknowledged], acknowledged)
        print(f"redis-om: {len(acknowledged)} objects acknowledged and kept")


if __name__ == "__main__":
    unittest.main(verbosity=2)
