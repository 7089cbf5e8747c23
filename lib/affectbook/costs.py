"""What a network costs: its weights, and the multiplications of one window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from affectbook.errors import ParameterError


def parameters(module: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


def macs(module: nn.Module, n_chans: int, n_times: int) -> int:
    """Return the multiply-accumulates (MACs) that one window costs.

    Counted are convolutions and matrix products: those inside the scans, and every step of an
    LSTM. Left out is what works on one number at a time, such as norms, activations, pools and the
    decay of a state. The network is run once, on zeros, in eval mode and without gradients.

    Parameters
    ----------
    module
        Takes windows ``(b, n_chans, n_times)``; on a CPU.
    n_chans, n_times
        Leads and samples of the window.

    Raises
    ------
    ParameterError
        If the network does not take such a window.
    """
    window = next(module.parameters()).new_zeros(1, n_chans, n_times)
    training = module.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            with _recurrent(module.eval(), counter) as missed:
                module(window)
    except RuntimeError as error:
        raise ParameterError(
            f"{type(module).__name__} takes no window of {n_chans} x {n_times}: {error}"
        ) from error
    finally:
        module.train(training)
    return counter.get_total_flops() // 2 + sum(missed)


@contextmanager
def _recurrent(module: nn.Module, counter: FlopCounterMode) -> Iterator[list[int]]:
    """Collect what the counter misses inside recurrent layers, one number per call.

    An LSTM of ``h`` units makes ``4 h (i + h)`` products of each step and direction from its ``i``
    inputs: each weight of its matrices is used once. Torch computes it with one kernel that the
    counter does not know, or with products that it does, depending on the machine.
    """
    missed: list[int] = []
    before: list[int] = []

    def enter(*_: object) -> None:
        before.append(counter.get_total_flops() // 2)

    def leave(layer: nn.RNNBase, inputs: tuple[Tensor, ...], _: object) -> None:
        steps = inputs[0].shape[:-1].numel()
        weights = sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2)
        counted = counter.get_total_flops() // 2 - before.pop()
        missed.append(steps * weights - counted)

    layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    handles = [layer.register_forward_pre_hook(enter) for layer in layers]
    handles += [layer.register_forward_hook(leave) for layer in layers]
    try:
        yield missed
    finally:
        for handle in handles:
            handle.remove()


def table(modules: Mapping[str, nn.Module], n_chans: int, n_times: int) -> pd.DataFrame:
    """Return what networks cost for the same window, one row each, in the order given.

    Parameters
    ----------
    modules
        Networks under the names that the table gives them.
    n_chans, n_times
        Leads and samples of the window.

    Returns
    -------
    pandas.DataFrame
        network, parameters, million MACs; and MACs relative to the first network.

    Raises
    ------
    ParameterError
        If there is no network, or one of them does not take such a window.
    """
    if not modules:
        raise ParameterError("a table of costs needs one network or more")
    counts = {name: macs(module, n_chans, n_times) for name, module in modules.items()}
    first = next(iter(counts.values()))
    rows = [
        {
            "network": name,
            "parameters": parameters(modules[name]),
            "million MACs": round(count / 1e6, 1),
            "relative to the first": round(count / first, 3),
        }
        for name, count in counts.items()
    ]
    return pd.DataFrame(rows)
