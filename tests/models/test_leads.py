from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models.leads import LEAD_INPUTS, LEADS, TwelveLeads


@pytest.mark.parametrize(("lead_input", "slot"), [("lead_II", "II"), ("lead_I", "I")])
def test_one_slot_has_the_signal_and_the_others_have_zeros(lead_input, slot) -> None:
    x = torch.randn(3, 1, 40)
    leads = dict(zip(LEADS, TwelveLeads(lead_input)(x).unbind(1), strict=True))
    assert torch.equal(leads.pop(slot), x[:, 0])
    assert len(leads) == 11 and not any(lead.any() for lead in leads.values())


def test_a_lead_can_be_copied_to_all() -> None:
    x = torch.randn(3, 1, 40)
    assert torch.equal(TwelveLeads("copied")(x), x.expand(3, 12, 40))


def test_what_is_learnt_begins_as_lead_two_and_has_the_only_parameters() -> None:
    x = torch.randn(3, 1, 40)
    counts = {one: sum(p.numel() for p in TwelveLeads(one).parameters()) for one in LEAD_INPUTS}
    assert counts == {"lead_II": 0, "lead_I": 0, "copied": 0, "learnt": 12}
    learnt = TwelveLeads("learnt")
    assert torch.equal(learnt(x), TwelveLeads()(x))
    learnt(x).square().sum().backward()
    assert learnt.factors.grad[1] != 0
    learnt.load_state_dict({"factors": torch.arange(12.0)})
    assert torch.equal(learnt(x)[:, 5], 5 * x[:, 0])


@given(lead_input=st.sampled_from(LEAD_INPUTS), b=st.integers(1, 3), t=st.integers(1, 9))
def test_twelve_leads_come_of_one_whatever_the_length(lead_input, b, t) -> None:
    assert TwelveLeads(lead_input)(torch.ones(b, 1, t)).shape == (b, 12, t)


@pytest.mark.parametrize("shape", [(2, 12, 40), (2, 40), (1, 40)])
def test_other_windows_are_refused(shape) -> None:
    with pytest.raises(ParameterError, match="a single lead expected, not"):
        TwelveLeads()(torch.zeros(shape))


def test_an_unknown_choice_names_those_there_are() -> None:
    with pytest.raises(ParameterError, match="lead_II, lead_I, copied, learnt, not 'V5'"):
        TwelveLeads("V5")
