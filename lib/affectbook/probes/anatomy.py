"""The parts of an HCMNet: what each makes of windows, what its gates do, how far it sees.

Relies on no more than its parts ``cnn``, ``nlcca``, ``bissm`` (either of the last two may be None)
and its method ``embed``. Letters of the shapes: ``b`` batch, ``c`` channels, ``l`` time steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from affectbook.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

STAGES = ("cnn", "nlcca", "bissm")
"""Parts of the network, in the order of computation; a variant may lack the last two."""

OPEN, SHUT = 0.999, 0.001
"""Beyond these a gate lets everything or nothing pass, and has next to no gradient."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, and put its former state back afterwards."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def stages(module: nn.Module, X: np.ndarray, batch_size: int = 32) -> dict[str, np.ndarray]:
    """Return what each stage of a network makes of windows, pooled over time.

    Parameters
    ----------
    module
        An HCMNet; its weights and its mode are left as they are.
    X
        Windows ``(n_windows, n_chans, n_times)``, scaled as in training.
    batch_size
        Windows at a time.

    Returns
    -------
    dict of str to numpy.ndarray
        Of each of `STAGES` that the network has, ``(n_windows, 2 * channels)`` float32: the
        maximum and then the mean over time. The network itself pools by the maximum; the mean is
        added so that a probe is not limited by it. After ``bissm`` the residual is included.

    Raises
    ------
    ParameterError
        If the network has no such stages, or its embedding is not the maximum of the last one; or
        if there are no windows.
    """
    import torch

    if np.ndim(X) != 3 or len(X) == 0:
        raise ParameterError(
            f"windows have the shape (1 or more, n_chans, n_times), not {np.shape(X)}"
        )
    like = next(module.parameters())
    parts: list[dict[str, np.ndarray]] = []
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(X), batch_size):
                batch = torch.as_tensor(X[start : start + batch_size]).to(like)
                parts.append(_pooled(module, batch))
    finally:
        module.train(training)
    return {stage: np.concatenate([part[stage] for part in parts]) for stage in parts[0]}


def _pooled(module: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """Return maximum and mean over time of each stage ``(b, 2 * c)``."""
    import torch

    embedding, outputs = _outputs(module, x)
    last = list(outputs.values())[-1]
    # A switch may change what comes after the last stage; a probe would then read something else.
    if not torch.allclose(last.amax(-1), embedding, equal_nan=True):
        raise ParameterError(
            f"the embedding of {type(module).__name__} is not the maximum of its last stage"
        )
    pooled = {stage: torch.cat([y.amax(-1), y.mean(-1)], 1) for stage, y in outputs.items()}
    return {stage: y.float().cpu().numpy() for stage, y in pooled.items()}


def _outputs(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the embedding ``(b, c)`` of `x` and the output ``(b, c, l)`` of each stage."""
    _check_stages(module)
    outputs: dict[str, Tensor] = {}

    def remember(stage: str) -> Callable:
        def hook(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            # The residual round the scans is not theirs but the network's.
            outputs[stage] = given[0] + made if stage == "bissm" else made

        return hook

    own = {stage: getattr(module, stage, None) for stage in STAGES}
    handles = [
        part.register_forward_hook(remember(stage))
        for stage, part in own.items()
        if part is not None
    ]
    try:
        return module.embed(x), outputs
    finally:
        for handle in handles:
            handle.remove()


def _check_stages(module: nn.Module) -> None:
    missing = [name for name in (*STAGES, "embed") if not hasattr(module, name)]
    if missing:
        raise ParameterError(
            f"{type(module).__name__} is no HCMNet: it has no {', '.join(missing)}"
        )


def gate_statistics(
    build: Callable[[int], nn.Module], x: np.ndarray, seeds: Sequence[int]
) -> pd.DataFrame:
    """Return what the channel gates of NLCCA do before any training, seed by seed.

    The scalar s, the energy of the channel means, is added to every channel alike; away from the
    two ends of the channel axis it moves all gates together, and with the untrained weights it is
    large enough to open or shut all of them. Batch norm takes the statistics of `x`, as in the
    first step of training.

    Parameters
    ----------
    build
        Returns a new network; called with each seed, while torch is seeded with it.
    x
        Windows ``(n, n_chans, n_times)``, scaled as in training.
    seeds
        Of the initial weights.

    Returns
    -------
    pandas.DataFrame
        One row per seed: seed; energy, the mean of s; gate, the mean gate (0 to 1) of the interior
        channels, those that the padding of the gate's second convolution does not reach; open and
        shut, the shares of these gates above `OPEN` and below `SHUT`; verdict, "open" or "shut"
        where that is all of them in all windows, else "between".

    Raises
    ------
    ParameterError
        If a network has no channel gate.

    Notes
    -----
    Gate and scalar are those of the code that the paper's authors published. With the statistics
    that batch norm starts from, instead of those of `x`, the scalar would be another one.
    """
    import torch

    rows = []
    for seed in seeds:
        with seeded(seed), torch.no_grad():
            module = build(seed).train()
            own = getattr(getattr(module, "nlcca", None), "gate", None)
            if own is None:
                raise ParameterError(f"this {type(module).__name__} has no channel gate")
            given = module.cnn(torch.as_tensor(x).to(next(module.parameters())))  # b c l
            gates = own.gate(given)[:, 0]  # b c
            energy = own.energy(given.mean(-1)[:, None])
        edge = own.conv2.kernel_size[0] // 2
        inner = gates[:, edge:-edge].double()
        shares = (float(beyond.double().mean()) for beyond in (inner > OPEN, inner < SHUT))
        rows.append((seed, float(energy.mean()), float(inner.mean()), *shares))
    table = pd.DataFrame(rows, columns=["seed", "energy", "gate", "open", "shut"])
    verdict = np.select([table["open"] == 1, table["shut"] == 1], ["open", "shut"], "between")
    return table.assign(verdict=verdict)


def receptive_field(module: nn.Module, n_times: int, after: str) -> int:
    """Return how many samples of a window the time step in its middle sees.

    Measured, not derived: the gradient of that step with respect to a random window, in double
    precision, is not zero from the first to the last sample it sees. Two things are changed in a
    copy of the network. Max pools, which let a gradient through to the largest sample only, become
    average pools. The channel gate of NLCCA is held fixed, because it takes the mean over all time:
    with it every step sees, through one number per channel, the whole window. So after ``"nlcca"``
    only its depth-wise convolutions count.

    Parameters
    ----------
    module
        An HCMNet; it is left as it is.
    n_times
        Samples of the window; what is seen ends where the window ends.
    after
        One of `STAGES`.

    Returns
    -------
    int
        117 after ``"cnn"`` and 165 after ``"nlcca"`` as published.

    Raises
    ------
    ParameterError
        If the network has no such stage.
    """
    import torch

    _check_stages(module)
    if after not in STAGES or getattr(module, after) is None:
        raise ParameterError(f"this {type(module).__name__} has no stage {after!r}")
    local = _local_copy(module, after)
    n_chans = next(m for m in local.cnn.modules() if isinstance(m, torch.nn.Conv1d)).in_channels
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, n_chans, n_times, dtype=torch.float64, generator=random)
    y = _outputs(local, x.requires_grad_())[1][after]  # 1 c l
    (gradient,) = torch.autograd.grad(y[0, :, y.shape[-1] // 2].sum(), x)
    seen = torch.nonzero(gradient[0].abs().sum(0))
    return int(seen.max() - seen.min()) + 1


def _local_copy(module: nn.Module, after: str) -> nn.Module:
    """Return a copy up to a stage, on the CPU, whose gradient reaches all that the stage sees."""
    from torch import nn

    local = copy.deepcopy(module).cpu().double().eval().requires_grad_(False)
    for later in STAGES[STAGES.index(after) + 1 :]:
        setattr(local, later, None)
    for parent in list(local.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool1d):
                setattr(parent, name, nn.AvgPool1d(child.kernel_size, child.stride))
    gate = getattr(local.nlcca, "gate", None)
    for weight in () if gate is None else gate.parameters():
        weight.zero_()  # a gate without weights is one half, whatever the window
    return local
