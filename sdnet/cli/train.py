"""``python -m sdnet train``."""

from dataclasses import fields
from typing import Any

import click

from sdnet.cli.errors import in_one_sentence
from sdnet.cli.options import COUNT, NATURAL, POSITIVE, declares_training, on_device, with_data_root, with_others
from sdnet.experiments.accuracy import train as experiment
from sdnet.training.declaration import Training, training
from sdnet.training.distributed import COMPILE_MODES, Execution


@click.command()
@declares_training
@with_data_root
@click.option("--output", help="Where the network goes; default $SDNET_OUTPUT, else outputs.")
@on_device
@click.option(
    "--accumulate", type=COUNT, default=1, show_default=True, help="Pieces of each rank's batch, to save memory."
)
@click.option("--sync-batchnorm", is_flag=True, help="Normalise over all ranks' images; on GPUs.")
@click.option("--save-every", type=COUNT, help="Steps between checkpoints within an epoch.")
@click.option("--workers", type=NATURAL, default=4, show_default=True, help="Processes per rank that read photographs.")
@click.option("--max-corrupt", type=NATURAL, default=0, show_default=True, help="Photographs that may be unreadable.")
@click.option(
    "--timeout", type=POSITIVE, default=300.0, show_default=True, help="Seconds that ranks wait for each other."
)
@click.option("--compile", help=f"A mode of torch.compile: {', '.join(COMPILE_MODES)}; default none.")
def train(
    data_root: str | None,
    output: str | None,
    device: str | None,
    **options: Any,
) -> None:
    """Train one network and record the run; the same as notebook 04, without Jupyter.

    Interrupted, it resumes from the last checkpoint when started again with the same options. SIGTERM or Ctrl-C makes
    it save and end with exit code 75. Under torchrun, or `python -m sdnet launch`, it is one of several ranks.
    """

    def job() -> None:
        run, execution = declared(**options)
        experiment.run(run, data_root=data_root, output=output, device=device, execution=execution)

    in_one_sentence(job)


def declared(
    arch: str, dataset: str | None, preset: str, seed: int, others: tuple[str, ...], **changes: Any
) -> tuple[Training, Execution]:
    """What a training is and how it is carried out, from the options of ``python -m sdnet train``."""
    execution = Execution(**{field.name: changes.pop(field.name) for field in fields(Execution)})
    return training(arch, dataset, preset, seed=seed, **with_others(changes, others)), execution
