from __future__ import annotations

import os
import select
import subprocess
import sys

from balsam.platform import node


def test_this_node_counts_the_cores_it_may_use() -> None:
    here = node.this_node()
    assert here.hostname
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.memory > 1 << 20
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from balsam.platform.node import this_node; print(this_node().cores)"
    )
    bound = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=python_env()
    )
    assert (bound.stdout, bound.stderr) == ("1\n", "")


def test_identity_is_the_same_for_every_process_here() -> None:
    code = "from balsam.platform.node import identity; print(identity())"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=python_env()
    )
    assert other.stdout.strip() == node.identity()


def test_a_process_is_known_by_pid_and_start_time() -> None:
    started = node.start_time(os.getpid())
    assert started > 0
    assert node.process_alive(os.getpid(), started)
    assert not node.process_alive(os.getpid(), started - 1)


def test_a_process_that_ended_is_dead_before_it_is_reaped() -> None:
    child = subprocess.Popen(["sleep", "600"])
    watch = os.pidfd_open(child.pid)
    try:
        started = node.start_time(child.pid)
        assert node.process_alive(child.pid, started)
        child.kill()
        ready, _, _ = select.select([watch], [], [], 30)
        assert ready, "the child did not end within 30 s of SIGKILL"
        assert not node.process_alive(child.pid, started)
    finally:
        os.close(watch)
        child.kill()
        child.wait()
    assert not node.process_alive(child.pid, started)
    assert node.start_time(child.pid) == 0


def test_a_name_with_parentheses_does_not_confuse() -> None:
    code = """if True:
        import sys
        open('/proc/self/comm', 'w').write('a) R (b')
        print(flush=True)
        sys.stdin.read()"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert node.process_alive(child.pid, node.start_time(child.pid))


def test_no_process_has_pid_zero() -> None:
    assert node.start_time(0) == 0
    assert not node.process_alive(0, 0)
    assert not node.process_alive(-1, 0)


def python_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
