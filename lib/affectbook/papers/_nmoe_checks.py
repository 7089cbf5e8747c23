"""Parameters of NMoE that do not go together, refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from affectbook.errors import ParameterError


def require_sense(params: object, changes: Mapping[str, object]) -> None:
    """Refuse what cannot be, or would be left out without a word.

    Parameters
    ----------
    params
        Of the notebook.
    changes
        Options of the variant they compose.

    Raises
    ------
    ParameterError
        With the first thing that is wrong.
    """
    for told in _wrong(params, changes):
        raise ParameterError(told)


def _wrong(params: object, changes: Mapping[str, object]) -> Iterator[str]:
    single = params.layers is not None and params.layers.isdigit()
    if single and params.gate not in ("static", "last"):
        yield (
            f"-p gate {params.gate} has nothing to weigh where -p layers {params.layers} leaves a "
            "single one; leave one of the two out"
        )
    tuning = changes.get("tuning")
    if tuning and changes.get("normalise") == "zscore":
        yield (
            "layer_zscore learns means of embeddings before training; they are others once the "
            "backbone is trained or seen through, so leave it out here"
        )
    if tuning and changes.get("backbone", "mini") not in ("mini", "random_mini",
                                                          "mini_without_cmsc"):  # fmt: skip
        yield (
            "training through a backbone of 90 million parameters is not offered; take -p backbone "
            "mini or random_mini, or leave lora, full_fine_tuning, through_backbone, lead_learnt "
            "out"
        )
    if changes.get("lead_input") == "learnt" and not tuning:
        yield "lead_learnt is trained through the backbone"
