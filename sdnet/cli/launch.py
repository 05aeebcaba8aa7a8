"""``python -m sdnet launch``: one training on several ranks of this node, and of other nodes that do the same."""

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.training.agent import ANY_PORT, start_ranks


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--ranks-per-node", default=1, show_default=True, help="Processes here: one per GPU.")
@click.option("--nodes", default=1, show_default=True, help="Machines that take part.")
@click.option("--node", default=0, show_default=True, help="Which of them this is, from 0.")
@click.option("--endpoint", default=ANY_PORT, help="host:port of node 0, where several nodes meet.")
@click.option("--max-restarts", default=3, show_default=True, help="How often to start again when a rank dies.")
@click.option("--wait", default=300, show_default=True, help="Seconds to wait for the other nodes.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def launch(
    ranks_per_node: int, nodes: int, node: int, endpoint: str, max_restarts: int, wait: int, options: tuple[str, ...]
) -> None:
    """Train with OPTIONS of `python -m sdnet train` on several ranks, over PyTorch's elastic agent.

    The same as `torchrun ... -m sdnet train OPTIONS`, with its errors in one sentence. If a rank dies, all start again
    from the last checkpoint. Told to stop by SIGTERM, they save, and the exit code is 75 (torchrun's own is 1).
    """
    in_one_sentence(
        lambda: start_ranks(
            ("train", *options),
            ranks_per_node=ranks_per_node,
            nodes=nodes,
            node=node,
            endpoint=endpoint,
            max_restarts=max_restarts,
            wait=wait,
        )
    )
