"""Encoders that were pretrained, and classifiers on top of them or from their weights."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from torch import Tensor, nn
from torch.nn import functional as F

from affectbook import pretrain
from affectbook.errors import AuditError, CheckpointError, ParameterError
from affectbook.models import checkpoint
from affectbook.models.network import WindowNet
from affectbook.models.pretexts import Transformations
from affectbook.models.ssl_ecg import Encoder

RANDOM, FOLD, TRANSDUCTIVE = "random", "fold", "transductive"
_AT_ONCE = 64
# Features of windows that were encoded before: folds, budgets and placebos share most of them.
_MEMO: OrderedDict[str, dict[bytes, np.ndarray]] = OrderedDict()
_ENCODERS_KEPT = 4


class PretrainedEncoder(TransformerMixin, BaseEstimator):
    """Windows ``(n, c, t)`` to features ``(n, f)``, through an encoder that is not trained on.

    Parameters
    ----------
    source
        ``"random"``: initial weights. ``"fold"`` and ``"transductive"``: pretrained on the windows
        that `fit` is given, which `EncoderNet` takes from the training or from all windows. Any
        other name: released weights of this name, see `pretrain.path_of`.
    sha256
        Of released weights; checked where it is given.
    pretext
        What pretraining in the fold optimises; None: the published transformations.
    options
        Of the `Encoder`, where it is not released: pairs of name and value.
    n_blocks
        Features after so many of the three blocks.
    dataset, tier
        Of the windows, so that subjects that released weights have seen can be named.
    sfreq
        Of the windows in Hz; released weights take no other rate than that of their own windows.
    epochs, batch_size, seed
        Of pretraining in the fold.
    device
        Where pretraining runs.

    Attributes
    ----------
    encoder_ : Encoder
    network_ : torch.nn.Module or None
        The whole network of a pretext that was trained in the fold.
    subjects_ : tuple of str
        Subjects of `dataset` that released weights have seen.
    history_ : pandas.DataFrame or None
        Of pretraining in the fold.
    """

    def __init__(
        self,
        source: str = RANDOM,
        *,
        sha256: str | None = None,
        pretext: BaseEstimator | None = None,
        options: tuple[tuple[str, object], ...] = (),
        n_blocks: int = 3,
        dataset: str = "",
        tier: str = "",
        sfreq: float | None = None,
        epochs: int = 1,
        batch_size: int = 16,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.source = source
        self.sha256 = sha256
        self.pretext = pretext
        self.options = options
        self.n_blocks = n_blocks
        self.dataset = dataset
        self.tier = tier
        self.sfreq = sfreq
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.device = device

    def fit(self, X: np.ndarray, y: object = None) -> PretrainedEncoder:
        """Make or load the encoder; labels are not looked at.

        Raises
        ------
        CheckpointError
            If released weights are not there, or not those that are meant.
        ParameterError
            If they were pretrained at another rate.
        """
        self.subjects_, self.history_, self.network_ = (), None, None
        options = dict(self.options)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            if self.source == RANDOM:
                self.encoder_ = Encoder(X.shape[1], **options)
            elif self.source in (FOLD, TRANSDUCTIVE):
                pretext = Transformations() if self.pretext is None else self.pretext
                network = pretext.network(X.shape[1], **options)
                self.history_ = pretrain.pretrain(
                    network, pretext, X, epochs=self.epochs, batch_size=self.batch_size,
                    seed=self.seed, device=self.device,
                )  # fmt: skip
                self.network_ = network.cpu()
                self.encoder_ = network.encoder
            else:
                self.encoder_, card = released(self.source, self.sha256)
                rate = card["made_by"]["windows"]["sfreq"]
                if self.sfreq not in (None, rate):
                    raise ParameterError(
                        f"{self.source} was pretrained at {rate:g} Hz, these windows have "
                        f"{self.sfreq:g} Hz; take another scale, or -p pretraining fold"
                    )
                self.subjects_ = pretrain.subjects_seen(card, self.dataset, self.tier)
        self.encoder_.eval()
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the features ``(n_windows, f)`` float32; f is 32, 64 or 128 by `n_blocks`."""
        memo = _memo(f"{_digest(self.encoder_)} {self.n_blocks}")
        windows = np.ascontiguousarray(X, np.float32)
        keys = [hashlib.sha256(window.tobytes()).digest() for window in windows]
        new = [i for i, key in enumerate(keys) if key not in memo]
        for start in range(0, len(new), _AT_ONCE):
            part = new[start : start + _AT_ONCE]
            for i, feature in zip(part, self._encoded(windows[part]), strict=True):
                memo[keys[i]] = feature
        return np.stack([memo[key] for key in keys])

    @torch.no_grad()
    def _encoded(self, windows: np.ndarray) -> np.ndarray:
        x = torch.as_tensor(windows)
        for block in self.encoder_.blocks[: self.n_blocks]:
            x = block(x)
        return self.encoder_.pooled(x).numpy()


def released(name: str, sha256: str | None = None) -> tuple[Encoder, dict[str, object]]:
    """Return released weights as an encoder, and their card.

    Parameters
    ----------
    name
        Of the file in ``results/weights``.
    sha256
        Of the weights.

    Raises
    ------
    CheckpointError
        If weights or card are not there, damaged, or not those that are meant.
    """
    path = pretrain.path_of(name)
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in path.parent.glob(f"*{checkpoint.SUFFIX}")))
        raise CheckpointError(f"{path}: no such weights; there are {known or 'none'}")
    if sha256 is not None:
        checkpoint.load_state(path, sha256=sha256)
    built = checkpoint.read_card(path)["constructor"]
    if built is None:
        raise CheckpointError(f"{path}: its card does not say how the encoder is built")
    encoder = Encoder(**built)
    return encoder, checkpoint.load(encoder, path)


class EncoderNet(WindowNet):
    """A classifier on a pretrained encoder, frozen or fine-tuned, or trained from scratch.

    It is trained on all training windows for a number of epochs that is fixed before; nothing is
    selected, and no window is held back.

    Parameters
    ----------
    module
        `ssl_ecg.EmotionHead` over features if the encoder is frozen, else `ssl_ecg.EmotionNet`.
    encoder
        Unfitted `PretrainedEncoder`; None: from scratch.
    finetune
        Train the encoder, too.
    **kwargs
        As `WindowNet`.
    """

    def __init__(
        self,
        module: type[nn.Module],
        *,
        encoder: PretrainedEncoder | None = None,
        finetune: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, **kwargs)
        self.encoder = encoder
        self.finetune = finetune

    def fit(
        self, X: np.ndarray, y: np.ndarray, unlabelled: np.ndarray | None = None
    ) -> EncoderNet:
        """Train; whatever was learned before is dropped.

        Parameters
        ----------
        X, y
            Windows ``(n, n_chans, n_times)`` and labels.
        unlabelled
            All windows, for transductive pretraining in place of `X`.

        Raises
        ------
        AuditError
            If pretraining is transductive and the protocol is not.
        ParameterError
            If there is neither an encoder nor training of one.
        CheckpointError
            If released weights cannot be used.
        """
        if self.encoder is None and not self.finetune:
            raise ParameterError("without an encoder the network is trained: finetune=True")
        self.fitted_encoder_ = None
        self.saw_unlabelled_ = getattr(self.encoder, "source", "") == TRANSDUCTIVE
        if self.saw_unlabelled_ and unlabelled is None:
            raise AuditError(
                "pretraining on all windows would see those of the test: only the protocol "
                "group_kfold_subject_transductive allows it"
            )
        if self.encoder is not None:
            seen = unlabelled if self.saw_unlabelled_ else X
            self.fitted_encoder_ = clone(self.encoder).fit(np.asarray(seen, np.float32))
        self.pretrained_subjects_ = getattr(self.fitted_encoder_, "subjects_", ())
        return super().fit(self._taken(X), y)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return what the network says of windows ``(n, n_outputs)``: probabilities or logits."""
        return super().predict_proba(self._taken(X))

    def set_params(self, **kwargs: Any) -> EncoderNet:
        """Set parameters by name; ``encoder__<name>`` reaches into the encoder."""
        own = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith("encoder__")}
        super().set_params(**kwargs)
        if own:
            self.encoder.set_params(**{k.removeprefix("encoder__"): v for k, v in own.items()})
        return self

    def initialize_module(self) -> EncoderNet:
        """Build the network, and give it the pretrained weights if these are fine-tuned."""
        super().initialize_module()
        pretrained = getattr(self, "fitted_encoder_", None)
        if self.finetune and pretrained is not None:
            self.module_.encoder.load_state_dict(pretrained.encoder_.state_dict())
        return self

    def _taken(self, X: np.ndarray) -> np.ndarray:
        """Return windows, or their features as windows of one channel."""
        if self.finetune:
            return X
        return self.fitted_encoder_.transform(X)[:, None]


class PublishedLoss(nn.Module):
    """Two classes: two sigmoids on one-hot labels; more: softmax and cross-entropy.

    As the released code of self-supervised ECG has it.
    """

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of logits ``(b, n_outputs)`` and labels ``(b,)``."""
        if logits.shape[1] == 2:
            return F.binary_cross_entropy_with_logits(logits, F.one_hot(y, 2).to(logits.dtype))
        return F.cross_entropy(logits, y)


def _digest(module: nn.Module) -> str:
    """Return a sum over all weights, buffers and choices that change what an encoder returns."""
    total = hashlib.sha256(repr(module).encode() + getattr(module, "pooling", "").encode())
    for name, value in module.state_dict().items():
        total.update(name.encode() + value.numpy().tobytes())
    return total.hexdigest()


def _memo(key: str) -> dict[bytes, np.ndarray]:
    found = _MEMO.setdefault(key, {})
    _MEMO.move_to_end(key)
    while len(_MEMO) > _ENCODERS_KEPT:
        _MEMO.popitem(last=False)
    return found
