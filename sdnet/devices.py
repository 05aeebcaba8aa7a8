"""The device that work is done on."""

import torch

from sdnet.names import unknown_name


def device_of(name: str | torch.device | None = None) -> torch.device:
    """The named device; by default the accelerator if there is one, else the CPU.

    Raises:
        ValueError: if there is no such device here.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    here = ["cpu"]
    if accelerator is not None:
        kind, count = accelerator.type, torch.accelerator.device_count()
        here += [kind, *(f"{kind}:{index}" for index in range(count))]
    if str(name) not in here:
        raise ValueError(unknown_name("device", str(name), here))
    return torch.device(name)
