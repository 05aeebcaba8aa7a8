"""Read the features of a network back as an image, through the generative direction of its layers.

A CSC layer explains its input as A(z), so its code can be read back. Where a network is nothing but CSC layers and
batch normalisations, the code of every depth can: synthesise the layer's input, turn the batch normalisation below
around, and go on with the layer below that, down to the pixels (Appendix B of the paper). Nothing is fitted, and no
label is used.

A shortcut adds two things into one, and nobody can tell from a sum what its parts were. Ordinary convolutions and ReLUs
explain nothing, and max-pooling forgets. Networks with these are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sdnet.csc.layers import CSCConv2d
from sdnet.models.resnet import BasicBlock, ResNet
from sdnet.names import unknown_name


@dataclass(frozen=True, eq=False)
class Layer:
    """One 3×3 layer of a residual network (of the ImageNet stem: 7×7), with what lies before it.

    Attributes:
        name: ``"stem"`` or, for example, ``"stage1.block2.conv1"``.
        conv: the convolution or CSC layer.
        norm: the batch normalisation behind it.
        to_code: the part of the network from pixels to what ``conv`` gives.
        to_output: the part from pixels to what is handed on, batch normalisation, shortcut and ReLU included.
    """

    name: str
    conv: nn.Module
    norm: nn.BatchNorm2d
    to_code: nn.Sequential
    to_output: nn.Sequential


def residual_network(model: nn.Module) -> ResNet:
    """The network itself, if it is one of residual blocks, which have the depths that features are read at.

    Raises:
        ValueError: for a network of another kind.
    """
    if not isinstance(model, ResNet):
        raise ValueError(
            f"features are read back from the depths of a residual network; this is {type(model).__name__}, which has "
            "none. Choose a resnet or an sdnet."
        )
    return model


def layers(model: nn.Module) -> list[Layer]:
    """The 3×3 layers of a residual network in order of depth; they share the network's weights.

    Raises:
        ValueError: for a network of another kind.
    """
    model = residual_network(model)
    before: list[nn.Module] = [model.normalize]
    conv, norm = model.stem[0], _batch_norm(model.stem[1])
    to_code, before = nn.Sequential(*before, conv), [*before, model.stem]
    found = [Layer("stem", conv, norm, to_code, nn.Sequential(*before))]
    blocks = [(s, b, block) for s, stage in enumerate(model.stages, 1) for b, block in enumerate(_children(stage), 1)]
    for stage, number, block in blocks:
        assert isinstance(block, BasicBlock)
        name = f"stage{stage}.block{number}"
        first = [*before, block.conv1, block.bn1, block.relu]
        to_code, to_output = nn.Sequential(*before, block.conv1), nn.Sequential(*first)
        found.append(Layer(f"{name}.conv1", block.conv1, block.bn1, to_code, to_output))
        before = [*before, block]
        to_code, to_output = nn.Sequential(*first, block.conv2), nn.Sequential(*before)
        found.append(Layer(f"{name}.conv2", block.conv2, block.bn2, to_code, to_output))
    return found


def depths(model: nn.Module) -> list[str]:
    """The names of a network's depths, from the stem to the last layer."""
    return [layer.name for layer in layers(model)]


def layer_at(model: nn.Module, depth: str) -> Layer:
    """The layer of that name.

    Raises:
        ValueError: naming the depths that exist.
    """
    found = {layer.name: layer for layer in layers(model)}
    if depth not in found:
        raise ValueError(unknown_name("depth", depth, found))
    return found[depth]


def check_decodable(model: nn.Module) -> None:
    """Raise ValueError, with the reason, unless the network can be decoded."""
    if not isinstance(model, ResNet):
        raise ValueError(f"only residual networks of sdnet.models can be decoded; got {type(model).__name__}.")
    if model.training:
        raise ValueError("the network is in train mode, where its codes depend on the batch; call eval() first.")
    if any(isinstance(block, BasicBlock) and block.shortcut is not None for block in model.modules()):
        raise ValueError(
            "this network has shortcuts, and a sum cannot be taken apart again: it cannot be decoded. Choose an "
            "sdnet18_all or sdnet34_all trained with shortcut=False."
        )
    for layer in layers(model):
        if not isinstance(layer.conv, CSCConv2d):
            raise ValueError(
                f"{layer.name} of this network is an ordinary convolution, which explains nothing that could be read "
                "back: it cannot be decoded. Choose an sdnet18_all or sdnet34_all, which have CSC layers only."
            )
    if not isinstance(model.stem[3], nn.Identity):
        raise ValueError(
            "this network's stem has max-pooling, which forgets where the maximum was and all else, or a layer in its "
            "place: it cannot be decoded. Choose a network with stem='cifar'."
        )
    if any(isinstance(module, nn.ReLU) for module in model.modules()):
        raise ValueError(
            "this network has a ReLU behind a batch normalisation, whose negative part is lost: it cannot be decoded. "
            "Choose a network with stem_relu=False and without ReLUs in its blocks."
        )


def is_decodable(model: nn.Module) -> bool:
    """Whether :func:`decode` accepts the network; :func:`check_decodable` says why not."""
    try:
        check_decodable(model)
    except ValueError:
        return False
    return True


@torch.no_grad()
def codes(model: ResNet, images: Tensor) -> dict[str, Tensor]:
    """Depth → code (N, C, H', W') of images (N, 3, H, W) with pixels in [0, 1], for a network that can be decoded.

    Raises:
        ValueError: if the network cannot be decoded.
    """
    check_decodable(model)
    signal, found = model.normalize(images), {}
    for layer in layers(model):
        found[layer.name] = layer.conv(signal)
        signal = layer.norm(found[layer.name])
    return found


@torch.no_grad()
def decode(model: ResNet, code: Tensor, depth: str, size: Sequence[int]) -> Tensor:
    """The images (N, 3, H, W) that the codes of one depth describe.

    From the stem's code this is A(z) itself, in units of pixels. Pixels are not clipped to [0, 1]. Every layer takes
    away contrast, until it is below the precision of float32; so the result is float64 (on the CPU, where the
    accelerator has none).

    Args:
        code: (N, C, H', W'), from :func:`codes`.
        depth: the layer whose code it is, a name of :func:`depths`.
        size: (H, W) of the images; with strides, several sizes share one size of code.

    Raises:
        ValueError: if the network cannot be decoded, the depth does not exist, or the code has the wrong shape.
    """
    check_decodable(model)
    deepest = layer_at(model, depth)
    chain, sizes = [], [tuple(size)]
    for layer in layers(model):
        chain.append(layer)
        sizes.append(_csc(layer).dictionary.code_size(sizes[-1]))
        if layer.name == deepest.name:
            break
    expected = (_csc(deepest).out_channels, *sizes[-1])
    if tuple(code.shape[1:]) != expected:
        raise ValueError(
            f"the code at {depth} of images of size {tuple(size)} has shape (N, {', '.join(map(str, expected))}); got "
            f"{tuple(code.shape)}."
        )
    signal = (code.cpu() if code.device.type == "mps" else code).double()
    for index in reversed(range(len(chain))):
        dictionary = _csc(chain[index]).dictionary
        signal = dictionary.with_weight(dictionary.weight.to(signal)).synthesis(signal, sizes[index])
        if index > 0:
            signal = undo_batch_norm(chain[index - 1].norm, signal)
    return signal * model.normalize.std.to(signal) + model.normalize.mean.to(signal)


@torch.no_grad()
def background(model: ResNet, images: Tensor) -> dict[str, Tensor]:
    """Depth → what decoding shows on average over images (N, 3, H, W), of shape (1, 3, H, W).

    The constants of the batch normalisations and the borders of the padding leave a pattern that is the same for every
    image. At great depths it hides what differs from image to image, until it is subtracted. Since decoding is affine,
    this is the decoding of the average code.
    """
    average = {depth: code.mean(0, keepdim=True) for depth, code in codes(model, images).items()}
    return {depth: decode(model, code, depth, images.shape[2:]) for depth, code in average.items()}


def undo_batch_norm(norm: nn.BatchNorm2d, output: Tensor) -> Tensor:
    """The input (N, C, H, W) of a batch normalisation in eval mode from its output: (y − β)/γ · √(var + ε) + mean.

    Where γ is zero, the output is the same for every input; the answer there is the channel's running mean.
    """
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    mean, var, weight, bias = (values.to(output).view(-1, 1, 1) for values in (mean, var, norm.weight, norm.bias))
    gain = torch.where(weight == 0, 0, (var + norm.eps).sqrt() / weight)
    return (output - bias) * gain + mean


@torch.no_grad()
def density(layer: Layer, images: Tensor) -> Tensor:
    """Share (N,) of a layer's values that are not zero: of a CSC layer's code, or of what an ordinary one hands on."""
    part = layer.to_code if isinstance(layer.conv, CSCConv2d) else layer.to_output
    values: Tensor = part(images)
    return (values != 0).float().mean((1, 2, 3))


@torch.no_grad()
def relative_residual(layer: Layer, images: Tensor) -> Tensor:
    """Share (N,) of its input's energy that a CSC layer leaves unexplained: ‖x − A(z)‖² / ‖x‖² for each image."""
    signal: Tensor = layer.to_code[:-1](images)
    left = _csc(layer).residual(signal)
    return left.square().sum((1, 2, 3)) / signal.square().sum((1, 2, 3))


def most_used_atoms(code: Tensor, count: int) -> Tensor:
    """Indices (N, count) of the atoms with the largest Σ|z| in each image, the most used first.

    Raises:
        ValueError: if the code (N, C, H, W) has fewer than ``count`` atoms.
    """
    if not 1 <= count <= code.shape[1]:
        raise ValueError(f"count must lie between 1 and the number of atoms, {code.shape[1]}; got {count}.")
    return code.abs().sum((2, 3)).topk(count).indices


def _csc(layer: Layer) -> CSCConv2d:
    assert isinstance(layer.conv, CSCConv2d)
    return layer.conv


def _batch_norm(module: nn.Module) -> nn.BatchNorm2d:
    assert isinstance(module, nn.BatchNorm2d)
    return module


def _children(stage: nn.Module) -> list[nn.Module]:
    return list(stage.children())
