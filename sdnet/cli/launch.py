"""``python -m sdnet launch``: one training on several ranks of this node, and of other nodes that do the same."""

from typing import Any

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import COUNT, NATURAL
from sdnet.cli.train import declared, train
from sdnet.training.agent import ANY_PORT, check_agent, start_ranks


def _check(options: tuple[str, ...], ranks: int) -> None:
    """What every rank would refuse is refused here, once: its options, its batch, its data."""
    given = train.make_context("train", list(options)).params
    data_root, _, _ = (given.pop(name) for name in ("data_root", "output", "device"))
    run, execution = declared(**given)
    execution.check_batch(run.recipe.batch_size, ranks)
    run.load(data_root, workers=0)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--ranks-per-node", type=COUNT, default=1, show_default=True, help="Processes here: one per GPU.")
@click.option("--nodes", type=COUNT, default=1, show_default=True, help="Machines that take part.")
@click.option("--node", type=NATURAL, default=0, show_default=True, help="Which of them this is, from 0.")
@click.option("--endpoint", default=ANY_PORT, help="host:port of node 0, where several nodes meet.")
@click.option(
    "--max-restarts", type=NATURAL, default=3, show_default=True, help="How often to start again when a rank dies."
)
@click.option("--wait", type=COUNT, default=300, show_default=True, help="Seconds to wait for the other nodes.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def launch(options: tuple[str, ...], **agent: Any) -> None:
    """Train with OPTIONS of `python -m sdnet train` on several ranks, over PyTorch's elastic agent.

    The same as `torchrun ... -m sdnet train OPTIONS`, with its errors in one sentence. If a rank dies, all start again
    from the last checkpoint. Told to stop by SIGTERM or Ctrl-C, they save, and the exit code is 75 (torchrun's own is
    1). Options and data are checked before any rank starts.
    """

    def job() -> None:
        check_agent(**agent)
        _check(options, agent["nodes"] * agent["ranks_per_node"])
        start_ranks(("train", *options), **agent)

    in_one_sentence(job)
