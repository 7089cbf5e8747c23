from __future__ import annotations

import pytest
import torch

from affectbook.errors import ParameterError
from affectbook.models.small_cnn import SmallCNN


@pytest.mark.parametrize(("n_chans", "n_outputs", "expected"), [(1, 3, 65_283), (2, 2, 65_122)])
def test_parameter_counts(n_chans, n_outputs, expected) -> None:
    model = SmallCNN(n_chans, 640, n_outputs)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_shortest_window() -> None:
    assert SmallCNN(1, 8, 3).eval()(torch.zeros(2, 1, 8)).shape == (2, 3)
    with pytest.raises(ParameterError, match="the minimum is 8"):
        SmallCNN(1, 7, 3)
