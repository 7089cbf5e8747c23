"""Parameters of self-supervised ECG that do not go together, refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from affectbook import protocols
from affectbook.errors import ParameterError
from affectbook.papers._ssl_ecg_variants import TASKS

_STRENGTHS = {"snr_db", "factor", "pieces", "warp_pieces", "stretch"}
_OF_HEADS = {"tasks", "alpha", "single_head", "standardised"}


def require_sense(params: object, changes: Mapping[str, object]) -> None:
    """Refuse what cannot be, or would be left out without a word.

    Parameters
    ----------
    params
        Of the notebook.
    changes
        Options of the variant they compose, of network and training.

    Raises
    ------
    ParameterError
        With the first thing that is wrong.
    """
    wrong = (
        _of_protocol(params, changes), _of_source(params, changes), _of_released(params, changes),
        _of_variant(changes),
    )  # fmt: skip
    for told in chain.from_iterable(wrong):
        raise ParameterError(told)


def _of_protocol(params: object, changes: Mapping[str, object]) -> Iterator[str]:
    transductive = protocols.get(params.protocol).transductive
    if changes.get("source") == "transductive" and not transductive:
        yield (
            f"pretraining on all windows sees those of the test, which {params.protocol} does not "
            "allow; take -p protocol group_kfold_subject_transductive with it"
        )


def _of_source(params: object, changes: Mapping[str, object]) -> Iterator[str]:
    pretext, source = changes.get("pretext", "transformations"), changes.get("source")
    if pretext == "none" and not changes.get("finetune"):
        yield (
            "without a pretext there is nothing to freeze; take -p pretext random for a frozen "
            "encoder that has learnt nothing, or leave finetune out"
        )
    if pretext in ("none", "random") and params.pretraining != "other":
        yield (
            f"-p pretext {pretext} pretrains nothing; leave -p pretraining "
            f"{params.pretraining} out"
        )
    if source and params.label_budget < 1:
        yield (
            "an encoder that is pretrained in the fold would lose the windows without a label, "
            "too; take label_budget with -p pretraining other"
        )


def _of_released(params: object, changes: Mapping[str, object]) -> Iterator[str]:
    pretext, source = changes.get("pretext", "transformations"), changes.get("source")
    if "pooled" in changes and (source or pretext != "transformations"):
        yield "one_set names released weights of the published pretext; leave it out here"
    if "pooled" in changes and (params.dataset, params.tier) != ("dreamer", "simulated"):
        yield (
            "one_set stands for weights that were pretrained on one twin; it is for -p dataset "
            "dreamer -p tier simulated only"
        )
    if params.epochs is not None and not source and not changes.get("finetune"):
        yield (
            f"epochs = {params.epochs} would change nothing: the encoder is frozen and not trained "
            "here, and heads always get 200 epochs; leave epochs out, or take -p finetune true or "
            "-p pretraining fold"
        )


def _of_variant(changes: Mapping[str, object]) -> Iterator[str]:
    pretext = changes.get("pretext", "transformations")
    given = (_STRENGTHS | _OF_HEADS) & changes.keys()
    idle = given if pretext in ("none", "random") else given & _OF_HEADS
    if pretext != "transformations" and idle:
        yield (
            f"{', '.join(sorted(idle))} of the variant has no meaning for -p pretext {pretext}; "
            "leave it out"
        )
    if changes.get("n_blocks") and changes.get("finetune"):
        yield (
            "block_1 and block_2 are features of a frozen encoder, which is not trained with "
            "labels; leave one of the two out"
        )
    if changes.get("single_head") and len(changes.get("tasks", TASKS)) < 2:
        yield (
            "one softmax over a single transformation has nothing to tell apart; leave "
            "one_softmax out"
        )
    if changes.get("single_head") and "alpha" in changes:
        yield "one softmax has no weights of heads; leave equal_alpha or one_softmax out"
