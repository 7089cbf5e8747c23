"""One lead for a network that was pretrained on twelve.

How the single channel of a wearable was fed to ECG-FM was not found in the paper on NMoE (N.
Mansourian et al., arXiv 2503.01750), so that it is a choice here, to be ablated.

Letters: b windows, c leads, t samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affectbook.errors import ParameterError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The order in which ECG-FM takes them."""
LEAD_INPUTS = ("lead_II", "lead_I", "copied", "learnt")


class TwelveLeads(nn.Module):
    """Twelve leads ``(b, 12, t)`` of a single one ``(b, 1, t)``.

    Parameters
    ----------
    lead_input
        ``"lead_II"``: in the place of lead II, zeros in all others. ECG-FM was pretrained with each
        lead zeroed by the toss of a coin, so zeros are no news to it, a single lead that survives
        is: 12 in 4096. ``"lead_I"``: the same in the place of lead I. ``"copied"``: to all twelve,
        which no heart does: leads III, aVR, aVL and aVF are differences and means of I and II.
        ``"learnt"``: twelve factors, trained, which begin as ``"lead_II"``; the only choice with
        parameters.

    Raises
    ------
    ParameterError
        If there is no such choice.
    """

    def __init__(self, lead_input: str = "lead_II") -> None:
        super().__init__()
        if lead_input not in LEAD_INPUTS:
            raise ParameterError(
                f"lead_input must be one of {', '.join(LEAD_INPUTS)}, not {lead_input!r}"
            )
        self.lead_input = lead_input
        slot = LEADS.index("I" if lead_input == "lead_I" else "II")
        factors = torch.ones(12) if lead_input == "copied" else torch.eye(12)[slot]
        if lead_input == "learnt":
            self.factors = nn.Parameter(factors)
        else:
            self.register_buffer("factors", factors, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return windows ``(b, 12, t)`` of windows ``(b, 1, t)``.

        Raises
        ------
        ParameterError
            If they have more leads than one.
        """
        if x.ndim != 3 or x.shape[1] != 1:
            raise ParameterError(f"windows (b, 1, t) of a single lead expected, not {(*x.shape,)}")
        return self.factors[:, None] * x
