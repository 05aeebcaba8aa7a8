"""``python -m sdnet launch``: one training on several ranks of this node, and of other nodes that do the same."""

from dataclasses import fields
from typing import Any

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import with_others
from sdnet.training.agent import ANY_PORT, check_agent, start_ranks
from sdnet.training.declaration import Training, training
from sdnet.training.distributed import Execution


def declared(
    arch: str, dataset: str, preset: str, seed: int, others: tuple[str, ...], **changes: Any
) -> tuple[Training, Execution]:
    """What a training is and how it is carried out, from the options of ``python -m sdnet train``."""
    execution = Execution(**{field.name: changes.pop(field.name) for field in fields(Execution)})
    return training(arch, dataset, preset, seed=seed, **with_others(changes, others)), execution


def _check(train: click.Command, options: tuple[str, ...], ranks: int) -> None:
    """What every rank would refuse is refused here, once: its options, its batch, its data."""
    given = train.make_context("train", list(options)).params
    data_root, _, _ = (given.pop(name) for name in ("data_root", "output", "device"))
    run, execution = declared(**given)
    execution.check_batch(run.recipe.batch_size, ranks)
    run.load(data_root, workers=0)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--ranks-per-node", default=1, show_default=True, help="Processes here: one per GPU.")
@click.option("--nodes", default=1, show_default=True, help="Machines that take part.")
@click.option("--node", default=0, show_default=True, help="Which of them this is, from 0.")
@click.option("--endpoint", default=ANY_PORT, help="host:port of node 0, where several nodes meet.")
@click.option("--max-restarts", default=3, show_default=True, help="How often to start again when a rank dies.")
@click.option("--wait", default=300, show_default=True, help="Seconds to wait for the other nodes.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def launch(context: click.Context, /, options: tuple[str, ...], **agent: Any) -> None:
    """Train with OPTIONS of `python -m sdnet train` on several ranks, over PyTorch's elastic agent.

    The same as `torchrun ... -m sdnet train OPTIONS`, with its errors in one sentence. If a rank dies, all start again
    from the last checkpoint. Told to stop by SIGTERM or Ctrl-C, they save, and the exit code is 75 (torchrun's own is
    1). Options and data are checked before any rank starts.
    """

    def job() -> None:
        check_agent(**agent)
        assert context.parent is not None
        assert isinstance(context.parent.command, click.Group)
        _check(context.parent.command.commands["train"], options, agent["nodes"] * agent["ranks_per_node"])
        start_ranks(("train", *options), **agent)

    in_one_sentence(job)
