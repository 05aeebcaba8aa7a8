"""Starting the ranks of a node with PyTorch's elastic agent, the one behind ``torchrun``, and saying how it ended."""

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousTimeoutError,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sdnet.parameters import Count, Natural, check
from sdnet.training.distributed import PREEMPTED, Preempted
from sdnet.training.stopping import PARENT

ANY_PORT = "127.0.0.1:0"
"""Where the ranks of a single node meet: on a port that is free."""
CONNECT = 60
"""Seconds that a node tries to reach the first one."""
AGENT = "SDNET_AGENT"
"""Variable by which a rank knows its agent: the agent's process, a colon, and a file that :func:`refuse` makes."""


def start_ranks(
    arguments: Sequence[str],
    *,
    ranks_per_node: int = 1,
    nodes: int = 1,
    node: int = 0,
    endpoint: str = ANY_PORT,
    max_restarts: int = 3,
    wait: int = 300,
) -> None:
    """Run ``python -m sdnet ARGUMENTS`` as ``ranks_per_node`` ranks on this node, and wait for its end.

    If a rank dies, all are started again and resume from the last checkpoint, up to ``max_restarts`` times; not if one
    refuses to run (:func:`refuse`), which it would do again. SIGTERM and Ctrl-C to this process reach every rank, and
    ranks whose agent was killed save and end too (:func:`sdnet.training.stopping.follow_parent`).

    Args:
        nodes, node: how many nodes take part, each with a call of this function, and which one this is, from 0.
        endpoint: ``host:port`` of node 0, where the nodes meet; for a single node any free port will do.
        wait: seconds to wait for the other nodes.

    Raises:
        Preempted: if the ranks were told to stop.
        ValueError: for a number out of its range; if the nodes do not meet, the port is busy, or a rank failed for
            good.
    """
    check_agent(ranks_per_node, nodes, node, endpoint, max_restarts, wait)
    # Ranks that compute on the CPU share its cores; what is said already stays.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks_per_node)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "100")  # seconds to save after SIGTERM
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # each attempt meets at a new port, without old addresses
    rendezvous = {"is_host": node == 0, "join_timeout": wait, "read_timeout": min(CONNECT, wait)}
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=ranks_per_node,
        run_id="sdnet",
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        rdzv_configs=rendezvous,
        max_restarts=max_restarts,
        local_addr="127.0.0.1" if endpoint.startswith(("127.", "localhost")) else None,
    )
    with tempfile.TemporaryDirectory() as folder:
        refused = Path(folder) / "refused"
        os.environ[AGENT], os.environ[PARENT] = f"{os.getpid()}:{refused}", str(os.getpid())
        try:
            _launch(config, arguments, endpoint, nodes, node, wait)
        except (SignalException, ChildFailedError) as error:
            raise _verdict(error, max_restarts, refused.exists()) from error


def refuse() -> None:
    """Tell the agent that started this process as a rank, if one did, that to start it again would be of no use."""
    process, _, path = os.environ.get(AGENT, "").partition(":")
    if not process:
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))  # of several ranks one speaks
        os.kill(int(process), signal.SIGTERM)
    except OSError:
        return


def _launch(config: LaunchConfig, arguments: Sequence[str], endpoint: str, nodes: int, node: int, wait: int) -> None:
    try:
        elastic_launch(config, sys.executable)("-m", "sdnet", *arguments)
    except RendezvousConnectionError as error:
        why = "its port is busy; choose another" if node == 0 else f"nobody answers there within {min(CONNECT, wait)} s"
        raise ValueError(f"node {node} of {nodes} cannot meet the others at {endpoint}: {why}.") from error
    except RendezvousTimeoutError as error:
        raise ValueError(
            f"fewer than {nodes} nodes came to {endpoint} within {wait} s; start all of them, or say how "
            "many there are."
        ) from error
    except RendezvousClosedError as error:
        raise ValueError(f"another node gave up, and node {node} with it; its message says why.") from error


def check_agent(ranks_per_node: int, nodes: int, node: int, endpoint: str, max_restarts: int, wait: int) -> None:
    """Raise ValueError for arguments of :func:`start_ranks` that are out of their range."""
    for name, value in (("ranks_per_node", ranks_per_node), ("nodes", nodes), ("wait", wait)):
        check(name, value, Count)
    check("max_restarts", max_restarts, Natural)
    if not 0 <= node < nodes:
        raise ValueError(f"node must be from 0 to {nodes - 1}, one less than the number of nodes; got {node}.")
    if nodes > 1 and endpoint == ANY_PORT:
        raise ValueError(f"{nodes} nodes need an endpoint to meet at: host:port of node 0.")


def _verdict(error: SignalException | ChildFailedError, max_restarts: int, refused: bool) -> Exception:
    if refused:
        return ValueError("a rank refused to run, and all have ended; see its message above.")
    if isinstance(error, SignalException):
        name = signal.Signals(error.sigval).name
        return Preempted(f"got {name} and passed it on; the ranks have ended, and say above whether they saved.")
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    if set(codes.values()) == {PREEMPTED}:
        return Preempted("the ranks were told to stop and have saved.")
    rank = error.get_first_failure()[0]
    how = f"was killed by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else f"ended with code {codes[rank]}"
    return ValueError(
        f"rank {rank} {how} and the run has failed, after {max_restarts} restarts; see its message above."
    )
