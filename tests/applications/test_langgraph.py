"""langgraph's ValkeySaver (langgraph-checkpoint-aws 1.2) on one shard, with valkey-py. It needs no scripts."""

import operator
import typing
import unittest

import valkey
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_checkpoint_aws import ValkeySaver

import primary_valkey
import shard


def saver(**options):
    """A checkpointer whose connections find the primary."""
    pool = valkey.ConnectionPool(
        connection_class=primary_valkey.ValkeyPrimaryConnection,
        nodes=shard.nodes(),
        retry=primary_valkey.retry(),
        # valkey-py retries only what is listed.
        retry_on_error=[valkey.exceptions.ConnectionError, valkey.exceptions.TimeoutError],
    )
    return ValkeySaver(valkey.Valkey(connection_pool=pool), **options)


class State(typing.TypedDict):
    steps: typing.Annotated[list, operator.add]


def graph(checkpointer):
    """Notes a step per call; a step named `ask` waits for a person."""

    def step(state):
        name = state["steps"][-1]
        return {"steps": [f"did {interrupt('may I?') if name == 'ask' else name}"]}

    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_edge("step", END)
    return builder.compile(checkpointer=checkpointer)


def thread(name):
    return {"configurable": {"thread_id": name}}


class LanggraphSaver(unittest.TestCase):
    def test_a_thread_continues_in_another_process(self):
        config = thread("continues")
        graph(saver()).invoke({"steps": ["one"]}, config)
        # Another client, which has nothing in memory.
        state = graph(saver()).invoke({"steps": ["two"]}, config)
        self.assertEqual(state["steps"], ["one", "did one", "two", "did two"])
        history = list(graph(saver()).get_state_history(config))
        self.assertEqual(len(history), 6)
        # Back to the end of the first call.
        past = next(entry for entry in history if entry.values.get("steps") == ["one", "did one"])
        self.assertEqual(graph(saver()).get_state(past.config).values["steps"], ["one", "did one"])

    def test_an_interrupted_thread_waits_for_its_answer(self):
        config = thread("asks")
        graph(saver()).invoke({"steps": ["ask"]}, config)
        self.assertEqual(graph(saver()).get_state(config).next, ("step",))
        state = graph(saver()).invoke(Command(resume="yes"), config)
        self.assertEqual(state["steps"], ["ask", "did yes"])

    def test_time_to_live_and_deletion(self):
        config = thread("ends")
        checkpointer = saver(ttl=100)
        graph(checkpointer).invoke({"steps": ["one"]}, config)
        keys = checkpointer.client.keys("*{ends}*") or checkpointer.client.keys("*ends*")
        self.assertTrue(keys)
        for key in keys:
            self.assertIn(checkpointer.client.ttl(key), range(90, 101))
        checkpointer.delete_thread("ends")
        self.assertIsNone(checkpointer.get_tuple(config))


class LanggraphSaverThroughAFailover(unittest.TestCase):
    def test_no_acknowledged_step_is_lost(self):
        """Guarantee: what `invoke` returned is the state that the next `invoke` of any process continues with."""
        running = graph(saver())
        config = thread("failover")
        done = []

        def send(number):
            state = running.invoke({"steps": [str(number)]}, config)
            done.append(state["steps"])

        with shard.Failover(after=0.5) as failover:
            shard.send_through(failover, send)
            steps = graph(saver()).get_state(config).values["steps"]
        self.assertEqual(steps[: len(done[-1])], done[-1])
        for earlier, later in zip(done, done[1:]):
            self.assertEqual(later[: len(earlier)], earlier)
        print(f"langgraph: {len(done)} calls acknowledged, each continued the one before")


if __name__ == "__main__":
    unittest.main(verbosity=2)
