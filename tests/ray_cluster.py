"""A Ray cluster of nodes on this machine, in a process of its own, so that its warnings are not those of tests.

Prints its address; then answers each line it reads: "lose" kills a node, "add" starts one.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEMORY = 80 * 2**20  # bytes, each node's object store; the least that Ray allows is 75 MB
TRIES = 3  # Ray gives a node 30 s to start, which a busy machine may exceed


@dataclass
class Nodes:
    """The process that holds a cluster, and its address."""

    process: subprocess.Popen
    address: str

    def order(self, word: str) -> None:
        """Lose or add a node."""
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{word}\n"


@contextmanager
def nodes(count: int, **env: str) -> Iterator[Nodes]:
    """A cluster of that many nodes of one core, with these environment variables."""
    whole = os.environ | {"CUDA_VISIBLE_DEVICES": "", "RAY_USAGE_STATS_ENABLED": "0"} | env
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with (
        tempfile.TemporaryDirectory(prefix="kd", ignore_cleanup_errors=True) as folder,  # sockets need short paths
        subprocess.Popen([sys.executable, __file__, str(count), folder], text=True, env=whole, **pipes) as process,
    ):
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield Nodes(process, address)
        process.communicate()


def tried(start):
    """What `start` returns, at the last try with its error."""
    for _ in range(TRIES - 1):
        try:
            return start()
        except Exception as error:
            print(error, file=sys.stderr)
    return start()


def main(count: int, folder: str) -> None:
    """Hold a cluster until standard input ends."""
    from ray._private.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)  # where it is written, whatever temp_dir
    node = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    head = node | {"temp_dir": folder}
    cluster = tried(lambda: Cluster(initialize_head=True, head_node_args=head))
    for _ in range(count - 1):
        tried(lambda: cluster.add_node(**node))
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line == "lose\n":
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        else:
            tried(lambda: cluster.add_node(**node))
        print(line, end="", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
