"""Runs the tests of applications, on one cluster: `run.py plain` without failovers, `run.py all` with them.

Names after that select applications (`run.py all celery rq`). FASTNESS_BIN names the binary. Exit status 1: a test
failed.
"""

import os
import re
import subprocess
import sys
import time

import shard

# Seconds for the tests of one application.
TIMEOUT = 300
# Applications whose libraries conflict with those of the others have a venv of their own (deploy/setup/python.sh).
PYTHON = {"arq": os.environ.get("FASTNESS_PYTHON_ARQ", sys.executable)}


def applications():
    """The names of all applications, from the names of the files."""
    return sorted(file.stem.removeprefix("test_") for file in shard.HERE.glob("test_*.py"))


def classes(application, with_failovers):
    """The names of the test classes to run."""
    text = (shard.HERE / f"test_{application}.py").read_text()
    names = re.findall(r"^class (\w+)\(unittest\.\w*TestCase\)", text, re.MULTILINE)
    return [name for name in names if with_failovers or not name.endswith("ThroughAFailover")]


def run(application, with_failovers):
    """Runs the tests of one application in a process of its own; returns whether they passed."""
    python = PYTHON.get(application, sys.executable)
    names = classes(application, with_failovers)
    command = [python, "-W", "ignore", f"test_{application}.py", *names]
    process = subprocess.Popen(command, cwd=shard.HERE, start_new_session=True)
    try:
        return process.wait(timeout=TIMEOUT) == 0
    except subprocess.TimeoutExpired:
        print(f"{application}: not done after {TIMEOUT} s", flush=True)
        return False
    finally:
        # With the workers that a test which was ended has left.
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        process.wait()


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("plain", "all"):
        sys.exit(__doc__)
    unknown = set(sys.argv[2:]) - set(applications())
    if unknown:
        sys.exit(f"no such application: {', '.join(sorted(unknown))}; there are {', '.join(applications())}")
    cluster = shard.shard()
    os.environ["FASTNESS_APPLICATIONS_CLUSTER"] = cluster.dir
    failed = []
    for application in sys.argv[2:] or applications():
        print(f"\n=== {application}", flush=True)
        began = time.monotonic()
        if not run(application, sys.argv[1] == "all"):
            failed.append(application)
        print(f"{application}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"\napplications that failed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
