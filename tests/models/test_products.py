from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from affectbook.errors import ParameterError
from affectbook.models import products
from affectbook.models.products import LIBRARIES, VARIABLE, bmm, library, linear


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """Let each test decide anew, and keep its decision to itself."""
    monkeypatch.setattr(products, "_CHOSEN", {})


@pytest.fixture(params=LIBRARIES)
def forced(request, monkeypatch):
    """Take one library, whatever is faster here."""
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def test_both_libraries_give_the_linear_map_and_its_gradients(forced) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 17, 8, requires_grad=True)
    weight, bias = torch.randn(5, 8, requires_grad=True), torch.randn(5, requires_grad=True)
    found, expected = linear(x, weight, bias), F.linear(x, weight, bias)
    assert found.shape == (3, 17, 5)
    torch.testing.assert_close(found, expected)
    up = torch.randn_like(expected)
    for own, other in zip(
        torch.autograd.grad(found, (x, weight, bias), up),
        torch.autograd.grad(expected, (x, weight, bias), up),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


def test_both_libraries_give_the_batched_product(forced) -> None:
    torch.manual_seed(0)
    a, b, c = torch.randn(6, 4, 9), torch.randn(6, 9, 7), torch.randn(6, 4, 7)
    torch.testing.assert_close(bmm(a, b), a @ b)
    torch.testing.assert_close(bmm(a.mT.contiguous().mT, b.mT.contiguous().mT), a @ b)
    torch.testing.assert_close(bmm(a, b, plus=c), c + a @ b)


def test_double_precision_has_one_way(monkeypatch) -> None:
    monkeypatch.setattr(products, "library", lambda kind: pytest.fail("asked"))
    a = torch.randn(2, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(bmm(a, a), a @ a)


@pytest.mark.parametrize(
    ("blas", "convolution", "chosen"), [(1.0, 0.9, "blas"), (2.0, 0.9, "onednn")]
)
def test_the_convolution_has_to_win_clearly(blas, convolution, chosen, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(products, "_best_times", lambda ways, operands: [blas, convolution])
    for kind in ("linear", "bmm"):
        assert library(kind) == chosen


def test_timing_compares_the_same_product() -> None:
    assert all(
        time > 0 for time in products._best_times((torch.mm, torch.mm), (torch.ones(2, 2),) * 2)
    )


def test_an_unknown_library_is_refused(monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "cublas")
    with pytest.raises(ParameterError, match="AFFECTBOOK_PRODUCTS .*cublas"):
        library("linear")
