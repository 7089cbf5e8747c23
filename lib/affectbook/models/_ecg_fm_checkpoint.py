"""Published files of ECG-FM: pickles of fairseq-signals, read as weights and nothing else.

Layout, as its code writes it (Jwoo5/fairseq-signals): a dictionary with ``args``, ``cfg``,
``model``, ``criterion``, ``optimizer_history``, ``task_state``, ``extra_state`` and
``last_optimizer_state``. ``model`` holds the encoder and what only the pretraining needs; in a
fine-tuned file the encoder's names begin with ``encoder.``, and the classifier is ``proj``.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from affectbook.errors import CheckpointError, shown
from affectbook.files import sha256 as file_sha256
from affectbook.models import checkpoint

BASE = {"hidden": 768, "n_layers": 12, "n_heads": 12, "ffn": 3072, "conv": 256, "n_chans": 12}
"""Sizes of the public checkpoint."""
EXTRAS = (
    "mask_emb", "quantizer.vars", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias",
    "project_q.weight", "project_q.bias", "final_proj.weight", "final_proj.bias",
)  # fmt: skip
"""Names of what only the pretraining needs."""
CLASSIFIER = ("proj.weight", "proj.bias")

_WRAPPER = "encoder."
_POSITIONS = "conv_pos.pos_conv.0."
# The weight norm was written in two ways; the second is torch's since 2023.
_SPELLINGS = {
    f"{_POSITIONS}weight_g": f"{_POSITIONS}parametrizations.weight.original0",
    f"{_POSITIONS}weight_v": f"{_POSITIONS}parametrizations.weight.original1",
}
# From our names, which are those of transformers, to the published ones; one after the other.
_PUBLISHED_NAMES = (
    (r"^(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"^(feature_extractor\.conv_layers\.0)\.layer_norm\.", r"\1.2."),
    (r"^feature_projection\.layer_norm\.", r"layer_norm."),
    (r"^feature_projection\.projection\.", r"post_extract_proj."),
    (r"^encoder\.pos_conv_embed\.conv\.", _POSITIONS),
    (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"^(encoder\.layers\.\d+)\.attention\.", r"\1.self_attn."),
    (r"^(encoder\.layers\.\d+)\.feed_forward\.intermediate_dense\.", r"\1.fc1."),
    (r"^(encoder\.layers\.\d+)\.feed_forward\.output_dense\.", r"\1.fc2."),
)
# Which axis of which tensor a size is seen in, of the first that is there; heads are seen in none.
_SEEN_IN = {
    "hidden": (("post_extract_proj.weight", 0), ("encoder.layer_norm.weight", 0)),
    "conv": (("post_extract_proj.weight", 1), ("layer_norm.weight", 0)),
    "ffn": (("encoder.layers.0.fc1.weight", 0), ("encoder.layers.0.fc1.bias", 0)),
    "n_chans": (("feature_extractor.conv_layers.0.0.weight", 1),),
}
# What cfg calls them.
_FIELDS = {
    "hidden": "encoder_embed_dim", "n_layers": "encoder_layers",
    "n_heads": "encoder_attention_heads", "ffn": "encoder_ffn_embed_dim",
}  # fmt: skip
_CONV = r"\(\d+,2,2\)"
# What cfg may say that no tensor shows, and the values that our network has, without spaces.
_FIXED = {
    "layer_norm_first": r"False",
    "activation_fn": r"gelu",
    "extractor_mode": r"default",
    "conv_feature_layers": rf"\[{_CONV}\]\*4|\[{_CONV}(,{_CONV}){{3}},?\]",
}
# Where objects come from that training code keeps beside weights, which are no attack.
_BYSTANDERS = ("omegaconf", "argparse", "numpy", "fairseq_signals")
# Numbers of NumPy: what makes them, under both names of its module, and their types.
_NUMBERS = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"},
]


@dataclass(frozen=True)
class Published:
    """Weights of an encoder under their published names, in one spelling, without extras."""

    path: Path
    sizes: dict[str, int]
    tensors: dict[str, Tensor]

    def tensors_of(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors under the names of our network: all of them, and no other.

        Parameters
        ----------
        ours
            What the network's ``state_dict`` gives; only names and shapes are looked at.

        Returns
        -------
        dict
            Copies in float32, which do not keep the file open.

        Raises
        ------
        CheckpointError
            One message that lists what is missing, unexpected, or of another shape or kind.
        """
        theirs = {published_name(name): name for name in ours}
        problems = {
            "missing": [name for name in theirs if name not in self.tensors],
            "unexpected": sorted(name for name in self.tensors if name not in theirs),
            "of another shape": list(self._misshapen(theirs, ours)),
            "without numbers": list(self._unusable(theirs)),
        }
        told = [
            f"{len(names)} {what}: {checkpoint._listed(names)}"
            for what, names in problems.items()
            if names
        ]
        if told:
            raise refused(self.path, f"not the tensors of ECG-FM's encoder; {'; '.join(told)}")
        return {
            name: self.tensors[published].to(torch.float32, copy=True)
            for published, name in theirs.items()
        }

    def _misshapen(self, theirs: Mapping[str, str], ours: Mapping[str, Tensor]) -> Iterator[str]:
        for published, name in theirs.items():
            found = self.tensors.get(published)
            if found is not None and found.shape != ours[name].shape:
                yield f"{published} {(*found.shape,)} instead of {(*ours[name].shape,)}"

    def _unusable(self, theirs: Mapping[str, str]) -> Iterator[str]:
        """Yield tensors of integers, and tensors with values that are not finite."""
        for published in theirs:
            found = self.tensors.get(published)
            if found is None:
                continue
            if not found.is_floating_point():
                yield f"{published} of {checkpoint._dtype(found)}"
            elif not torch.isfinite(found).all():
                yield f"{published} is not finite"


def read(path: Path, sha256: str | None = None) -> Published:
    """Read the encoder of a published file; code in it does not run, and nothing but weights loads.

    Parameters
    ----------
    path
        A file that torch wrote: ``.pt``. Its tensors are mapped, so that the two thirds of it that
        are the state of the optimizer are never read.
    sha256
        Its published sum. Nothing is parsed if it differs. Where it is given, numbers of NumPy may
        stand beside the weights, as scores of an epoch do.

    Raises
    ------
    CheckpointError
        If the file is not there, has another sum, is cut or damaged, carries code or objects, says
        that it is of another architecture, or is of other sizes than it or the public model says.
    """
    path = Path(path)
    if path.suffix not in checkpoint.PICKLED:
        known = ", ".join((*checkpoint.PICKLED, checkpoint.SUFFIX))
        raise refused(path, f"no file of weights by its name; expected one of {known}")
    checkpoint._require_file(path)
    try:
        found = "" if sha256 is None else file_sha256(path)
        checkpoint._require_sum(path, found, sha256)
        content = _content(path, numbers=sha256 is not None)
        tensors = encoder_of(path, checkpoint._state_in(path, content))
    except OSError as error:
        raise refused(path, f"could not be read: {error.strerror or error}") from None
    return Published(path, sizes(path, tensors, content.get("cfg")), tensors)


def published_name(own: str) -> str:
    """Return the name that fairseq-signals gives to a parameter of ours."""
    for ours, theirs in _PUBLISHED_NAMES:
        own = re.sub(ours, theirs, own)
    return own


def refused(path: Path, what: str) -> CheckpointError:
    """Return the error for a file that is not read."""
    return CheckpointError(shown(f"{path}: {what}"))


def _content(path: Path, *, numbers: bool) -> object:
    """Return what torch's own short list of harmless types lets out of a pickle."""
    with path.open("rb") as stream:
        mapped = stream.read(2) == b"PK"  # the format before zip cannot be mapped
    if mapped:
        checkpoint._require_stored(path)
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(_NUMBERS if numbers else []),
        ):
            # About other protocols of pickles; and that what is mapped may not be written to.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise refused(path, _why(str(error))) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle makes its reader raise anything
        told = checkpoint._first_line(error)
        raise refused(path, f"cut or damaged, or no file of torch: {told}") from None


def _why(error: str) -> str:
    """Return why a pickle is not read, and what can be done where it may be well meant."""
    named = checkpoint._GLOBAL.search(error)
    if named is None:
        return f"{checkpoint._NOT_PLAIN}; code in a file is never run; get it again"
    name = named[1].rstrip(".")
    told = f"carries more than weights: {name}; code in a file is never run, whatever its SHA-256"
    if name.partition(".")[0] not in _BYSTANDERS:
        return f"{told}; get it again from its publisher"
    return (
        f"{told}. Numbers of NumPy are let through where sha256 is given. Of other objects: where "
        "nothing can be lost, load it with torch, and keep torch.save({'model': loaded['model']}, "
        "'weights.pt') alone; without a cfg the sizes are taken to be those of the public model"
    )


def encoder_of(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the encoder under one spelling, without the known extras."""
    dropped = EXTRAS
    if any(name.startswith((f"{_WRAPPER}{_WRAPPER}", f"{_WRAPPER}feature_")) for name in state):
        dropped = (*(f"{_WRAPPER}{name}" for name in EXTRAS), *CLASSIFIER)
        outside = [n for n in state if not n.startswith(_WRAPPER) and n not in CLASSIFIER]
        if outside:
            listed = checkpoint._listed(sorted(outside))
            raise refused(path, f"a fine-tuned file with {len(outside)} unexpected: {listed}")
        names = {name: name.removeprefix(_WRAPPER) for name in state}
    else:
        names = {name: name for name in state}
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in dropped:
            continue
        own = _SPELLINGS.get(names[name], names[name])
        if own in found:
            raise refused(path, f"{own} is there in both spellings of the weight norm")
        found[own] = value
    return found


def sizes(path: Path, tensors: Mapping[str, Tensor], cfg: object) -> dict[str, int]:
    """Return the sizes that the cfg in a file and its tensors agree on, else those of Base.

    Parameters
    ----------
    path
        Of the file, for messages.
    tensors
        Of the encoder, by their published names; only shapes are looked at.
    cfg
        What the file has under ``cfg``, whatever that is.

    Raises
    ------
    CheckpointError
        If cfg is of another architecture, or the tensors have other sizes than it and Base.
    """
    fields = cfg.get("model") if isinstance(cfg, dict) else None
    fields = fields if isinstance(fields, dict) else {}
    _require_architecture(path, fields)
    seen = _seen(tensors)
    told = {size: fields[field] for size, field in _FIELDS.items() if _is_size(fields.get(field))}
    agreed = BASE | seen | told
    if len(told) == len(_FIELDS) and seen.items() <= agreed.items():
        return agreed
    if seen.items() <= BASE.items():
        return dict(BASE)
    says = _in_words(told) if told else "nothing"
    raise refused(
        path,
        f"its tensors have {_in_words(seen)}; its cfg says {says}. The .yaml beside the public "
        "file carries the sizes of the Large model (n_layers 24, hidden 1024), which is not "
        f"public; this reader takes Base ({_in_words(BASE)}) unless the cfg in a file and its "
        "tensors agree",
    )


def _require_architecture(path: Path, fields: Mapping[object, object]) -> None:
    """Refuse a cfg of another network than ours with tensors of the same names."""
    for field, known in _FIXED.items():
        found = re.sub(r"\s", "", str(fields[field])) if field in fields else None
        if found is not None and not re.fullmatch(known, found):
            raise refused(path, f"its cfg says {field} {found[:100]}, which ECG-FM has not")


def _seen(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the sizes that tensors show."""
    layers = (re.match(r"encoder\.layers\.(\d{1,3})\.", name) for name in tensors)
    seen = {"n_layers": 1 + max((int(layer[1]) for layer in layers if layer), default=-1)}
    for size, places in _SEEN_IN.items():
        shapes = ((tensors[name].shape, axis) for name, axis in places if name in tensors)
        found = [shape[axis] for shape, axis in shapes if len(shape) > axis]
        seen |= {size: found[0]} if found else {}
    return seen


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _in_words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {sizes[name]}" for name in BASE if name in sizes)
