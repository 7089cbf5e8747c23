"""The layers of a frozen backbone, computed once for each window, and classifiers on top of them.

An embedding is made of one window and of nothing else: neither of its label nor of other windows,
whose number in a batch is always the same. So folds, protocols, gates and placebos share what is
kept, and nothing leaks from one into another.

Letters: n windows, c channels, s samples, l layers, t tokens, h features of a token.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from affectbook import embedding_store
from affectbook.closure import code_hash
from affectbook.encoders import EncoderNet
from affectbook.errors import DataError, ParameterError
from affectbook.models import leads, scaling
from affectbook.models.nmoe import NMoE
from affectbook.pretrain import PRECISIONS

POOLED, TOKENS = "pooled", "layer_embeddings"
LEARNT = "learnt"
_PIECE = 256  # windows that are kept at a time: an interrupt costs no more than these
_PLAIN = (bool, int, float, str, tuple)


class Backbone:
    """A network that is never trained here; copies of an estimator share it.

    Parameters
    ----------
    module
        With ``pooled(x)`` ``(l, b, h)``, the mean over tokens of each layer, and, for gates that
        weigh tokens, ``layer_embeddings(x)`` ``(l, b, t, h)``, of windows x ``(b, 12, s)``. It is
        put into evaluation mode, and its weights need no gradient any more.
    subjects
        Subjects that it has seen in pretraining, as the `meta` of the windows at hand names them:
        the audit of an evaluation asks for them.
    """

    def __init__(self, module: nn.Module, subjects: Sequence[str] = ()) -> None:
        self.module = module.eval().requires_grad_(False)
        self.subjects = tuple(subjects)
        self._known: tuple[object, str] = (None, "")

    def __sklearn_clone__(self) -> Backbone:
        # A copy of 90 million weights for each fold would be as good, and slow.
        return self

    def identity(self) -> str:
        """Return a sum over all that changes an embedding: weights, sizes, choices and code."""
        state = self.module.state_dict()
        # Torch counts changes in place; a tensor that takes the place of another lies elsewhere.
        now = [(name, value.data_ptr(), value._version) for name, value in state.items()]
        if self._known[0] != now:
            self._known = now, self._sum(state)
        return self._known[1]

    def _sum(self, state: dict[str, Tensor]) -> str:
        kind = type(self.module)
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        total = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}{self.module!r}".encode())
        total.update(_code(source).encode() if source else b"")
        for name, part in self.module.named_modules():
            # A module does not show all of its sizes: of attention it leaves out the heads.
            plain = {key: value for key, value in vars(part).items() if isinstance(value, _PLAIN)}
            told = sorted(one for one in plain.items() if one[0][0] != "_" and one[0] != "training")
            total.update(f"{name}{told}".encode())
        for name, value in state.items():
            plain = value.detach().cpu().contiguous()
            total.update(f"{name}{plain.dtype}{tuple(plain.shape)}".encode())
            total.update(plain.flatten().view(torch.uint8).numpy().data)
        return total.hexdigest()


class LayerEmbeddings(TransformerMixin, BaseEstimator):
    """Windows ``(n, c, s)`` to the layers of a frozen backbone ``(n, l, h)``; labels are not seen.

    What was embedded before is read: under ``build/cache/layer_embeddings``, by the content of each
    window, the backbone, and the choices below. Deleting the folder costs time, nothing else.

    Parameters
    ----------
    backbone
        Frozen.
    lead_input
        How one channel becomes twelve leads, see `leads.TwelveLeads`; None: windows have the leads
        that the backbone takes. ``"learnt"`` cannot be: its factors need the gradient through the
        backbone, for every batch.
    precision
        Of the products inside the backbone: ``"float32"`` or ``"bfloat16"``. What is kept is
        float32.
    batch_size
        Windows that go through the backbone at once. Each batch is filled up to it, since the last
        digits depend on the size of a batch.
    device
        Of the backbone.
    progress
        Show a bar of the windows that are embedded, if standard error is a terminal.
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        lead_input: str | None = "lead_II",
        precision: str = "float32",
        batch_size: int = 8,
        device: str = "cpu",
        progress: bool = False,
    ) -> None:
        self.backbone = backbone
        self.lead_input = lead_input
        self.precision = precision
        self.batch_size = batch_size
        self.device = device
        self.progress = progress

    def fit(self, X: object = None, y: object = None) -> LayerEmbeddings:
        """Check the choices; of windows and labels nothing is learned.

        Raises
        ------
        ParameterError
            If there is no backbone, or a choice is unknown.
        """
        if self.backbone is None:
            raise ParameterError("layers of what? Give backbone=Backbone(module)")
        if self.precision not in PRECISIONS or self.batch_size < 1:
            raise ParameterError(
                f"no embedding with precision {self.precision!r} and batches of {self.batch_size}; "
                f"there are {', '.join(PRECISIONS)}, and batches of 1 or more"
            )
        if self.lead_input == LEARNT:
            raise ParameterError(
                "lead_input 'learnt' is trained through the backbone: no embedding can be kept; "
                f"take one of {', '.join(one for one in leads.LEAD_INPUTS if one != LEARNT)}"
            )
        as_is = self.lead_input is None
        self.leads_ = nn.Identity() if as_is else leads.TwelveLeads(self.lead_input)
        self.subjects_ = self.backbone.subjects
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the mean over tokens of each layer ``(n, l, h)`` float32.

        It is a memory map of a file without a name where it is larger than `windows.LARGE`.

        Raises
        ------
        ParameterError
            If windows have the wrong shape.
        DataError
            If a window holds values that are not finite.
        CacheError
            If a memory map is needed, and there is no room for it.
        """
        return self._kept(_checked(X), POOLED)

    def tokens(self, X: np.ndarray) -> np.ndarray:
        """Return the tokens of each layer ``(n, l, t, h)`` float32, with the errors of `transform`.

        They are kept only while those of all windows are no larger than `windows.LARGE`, since the
        tokens of one window of 5 s take 5.75 MB.
        """
        windows = _checked(X)
        one = self._through(windows[:1], TOKENS)[0]
        if len(windows) * one.nbytes <= embedding_store.LARGE:
            return self._kept(windows, TOKENS)
        found = embedding_store.room_for((len(windows), *one.shape))
        with self._bar(len(windows)) as bar:
            for start, part in _parts(windows, self.batch_size):
                found[start : start + len(part)] = self._embedded(part, TOKENS, bar)
        return found

    def _kept(self, windows: np.ndarray, what: str) -> np.ndarray:
        """Return embeddings, of which those that were never made are made now."""
        store = embedding_store.of(self._told(windows, what))
        keys = [hashlib.sha256(window.data).digest() for window in windows]
        if store.missing(keys):
            with store.alone(keys) as missing, self._bar(len(missing)) as bar:
                for _, part in _parts(missing, _PIECE):
                    made = self._embedded(windows[part], what, bar)
                    store.add([keys[i] for i in part], made)
        return store.gather(keys)

    def _told(self, windows: np.ndarray, what: str) -> dict[str, object]:
        """Return all that an embedding depends on, but for the window."""
        return {
            "backbone": self.backbone.identity(), "what": what, "window": windows.shape[1:],
            "lead_input": self.lead_input, "precision": self.precision,
            "batch_size": self.batch_size, "device": torch.device(self.device).type,
            "code": [_code(__file__), _code(leads.__file__)],
        }  # fmt: skip

    def _embedded(self, windows: np.ndarray, what: str, bar: tqdm) -> np.ndarray:
        found = []
        for _, part in _parts(windows, self.batch_size):
            more = np.repeat(part[-1:], self.batch_size - len(part), 0)
            found.append(self._through(np.concatenate([part, more]), what)[: len(part)])
            bar.update(len(part))
        return np.concatenate(found)

    @torch.inference_mode()
    def _through(self, windows: np.ndarray, what: str) -> np.ndarray:
        """Return what the backbone says of one batch of windows, windows first."""
        module, precision = self.backbone.module.to(self.device).eval(), PRECISIONS[self.precision]
        x = self.leads_(torch.tensor(windows)).to(self.device)
        with torch.autocast(x.device.type, precision, enabled=precision is not None):
            found = getattr(module, what)(x)
        return found.transpose(0, 1).float().cpu().numpy()

    def _bar(self, total: int) -> tqdm:
        return tqdm(total=total, desc="embedding", unit="window", leave=False,
                    disable=None if self.progress else True)  # fmt: skip


class LayerNet(EncoderNet):
    """A gate and a head, trained on the layers of a frozen backbone that were computed before.

    All training windows are trained on, for a number of epochs that is fixed before; nothing is
    selected, and no window is held back. A gate of one number per layer needs larger steps than
    the head to move in few epochs: ``optimizer__param_groups=[("gate*", {"lr": 0.05})]``.

    Parameters
    ----------
    module
        `nmoe.NMoE`, or what takes ``n_layers, hidden, n_outputs`` and embeddings as it does. The
        first two are those of the backbone unless they are given.
    encoder
        Unfitted `LayerEmbeddings`.
    **kwargs
        As `WindowNet`. A scaler must be one that looks at windows before an embedding
        (`scaling.BEFORE`): `evaluate` applies it.
    """

    def __init__(
        self,
        module: type[nn.Module] = NMoE,
        *,
        encoder: LayerEmbeddings | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, encoder=encoder, **kwargs)

    def fit(self, X: np.ndarray, y: np.ndarray) -> LayerNet:
        """Train gate and head; whatever was learned before is dropped.

        Parameters
        ----------
        X, y
            Windows ``(n, c, s)`` and labels ``(n,)``.

        Raises
        ------
        ParameterError
            If the backbone is missing or is to be trained, a scaler would change embeddings, or
            batch norm would see windows one by one; or shapes and labels do not fit.
        DataError
            If a window holds values that are not finite.
        """
        if self.encoder is None or self.finetune:
            raise ParameterError("LayerNet takes encoder=LayerEmbeddings(...), which stays frozen")
        kind = getattr(self.scaler, "kind", "none")
        if kind not in (*scaling.BEFORE, "none"):
            raise ParameterError(
                f"scaler {kind!r} is fitted to the training windows of a fold, so that each fold "
                f"would need embeddings of its own; take one of {', '.join(scaling.BEFORE)}"
            )
        if len(X) < 2 or self.batch_size == 1:
            raise ParameterError(
                f"batch norm takes two windows or more, not {len(X)} in batches of "
                f"{self.batch_size}"
            )
        # `evaluate` has applied it to the windows; it is not for embeddings.
        scaler, self.scaler = self.scaler, None
        try:
            return super().fit(X, y)
        finally:
            self.scaler = scaler

    def gate_weights(self, X: np.ndarray) -> np.ndarray:
        """Return the weight of each layer for windows ``(n, l)``, of tokens ``(n, l, t)``."""
        module, embeddings = self.module_.eval(), self._taken(X)
        with torch.inference_mode():
            found = [module.weights(torch.as_tensor(part).to(self.device)).cpu()
                     for _, part in _parts(embeddings, _PIECE)]  # fmt: skip
        return torch.cat(found).numpy()

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Add layers and features of the backbone to what the module is built with."""
        told = super().get_params_for(prefix)
        return getattr(self, "shape_", {}) | told if prefix == "module" else told

    def get_iterator(self, dataset: Any, training: bool = False) -> DataLoader:
        """Leave out a window that would be a batch of its own, another one in each epoch."""
        batches = super().get_iterator(dataset, training)
        if not training or len(dataset) % batches.batch_size != 1:
            return batches
        told = self.get_params_for("iterator_train") | {"batch_size": batches.batch_size}
        return self.iterator_train(dataset, **told | {"drop_last": True})

    def on_train_begin(self, net: LayerNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Let the module see the scale of the training embeddings."""
        super().on_train_begin(net, X, y, **kwargs)
        self.module_.learn_scale(torch.as_tensor(X))

    def _taken(self, X: np.ndarray) -> np.ndarray:
        """Return the embeddings of windows: of tokens, if that is what the gate weighs."""
        gate = super().get_params_for("module").get("gate")
        encoder = self.fitted_encoder_
        found = encoder.tokens(X) if gate == "token" else encoder.transform(X)
        self.shape_ = {"n_layers": found.shape[1], "hidden": found.shape[-1]}
        return found

    def _module_param(self, name: str) -> int:
        """Return the value of ``module__<name>``; an embedding is a window of layers."""
        return super()._module_param({"n_chans": "n_layers", "n_times": "hidden"}.get(name, name))

    def _check_windows(self, X: np.ndarray, y: np.ndarray | None = None) -> None:
        # What is not finite in a token is not in the mean either.
        super()._check_windows(X.mean(2) if np.ndim(X) == 4 else X, y)


def _checked(X: np.ndarray) -> np.ndarray:
    """Return windows as one block of float32; refuse what no backbone could take."""
    windows = np.ascontiguousarray(X, np.float32)
    if windows.ndim != 3 or not len(windows):
        raise ParameterError(
            f"windows (n_windows, n_chans, n_times) expected, 1 or more; found {np.shape(X)}"
        )
    if not np.isfinite(windows).all():
        bad = np.unique(np.nonzero(~np.isfinite(windows))[0])
        raise DataError("a window holds values that are not finite", found=f"windows {bad}")
    return windows


def _code(path: str) -> str:
    return _code_at(Path(path), Path(path).stat().st_mtime_ns)


@functools.lru_cache
def _code_at(path: Path, changed: int) -> str:
    """Return the hash of code; `changed` keys the cache."""
    return code_hash(path)


def _parts(X: Sequence, size: int) -> Iterator[tuple[int, Sequence]]:
    """Yield X in parts of a size, each with where it begins."""
    for start in range(0, len(X), size):
        yield start, X[start : start + size]
