"""The data API over gRPC from Python: the example in proto/examples runs, on a cluster that loses a node meanwhile."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from cluster import Cluster

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "proto" / "examples" / "payment_tokens.py"
CLUSTER = None


def setUpModule():
    global CLUSTER
    CLUSTER = Cluster()


def tearDownModule():
    if CLUSTER:
        CLUSTER.stop()


class Example(unittest.TestCase):
    def run_example(self):
        environment = {**os.environ, "FASTNESS_CLUSTER": str(Path(CLUSTER.dir, "cluster.json"))}
        done = subprocess.run([sys.executable, EXAMPLE], env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("ok: "), 7, done.stdout)

    def test_1_payment_tokens(self):
        self.run_example()

    def test_2_payment_tokens_with_one_node_less(self):
        node = CLUSTER.file["nodes"][0]
        os.kill(node["pid"], signal.SIGKILL)
        self.run_example()

    def test_an_example_without_a_cluster_says_what_it_needs(self):
        environment = {name: value for name, value in os.environ.items() if name != "FASTNESS_CLUSTER"}
        done = subprocess.run([sys.executable, EXAMPLE], env=environment, capture_output=True, text=True, timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("FASTNESS_CLUSTER", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
