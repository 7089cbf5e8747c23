from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from affectbook.errors import ParameterError
from affectbook.models import products
from affectbook.models.products import LIBRARIES, VARIABLE, bmm, library, linear


@pytest.fixture(params=LIBRARIES)
def forced(request, monkeypatch):
    """Take one library."""
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
    monkeypatch.setattr(products, "library", lambda: pytest.fail("asked"))
    a = torch.randn(2, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(bmm(a, a), a @ a)


def test_the_blas_is_taken_unless_the_environment_says_otherwise(monkeypatch) -> None:
    """Never by timing: the same run would round in one way today, in another tomorrow."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert library() == "blas"
    monkeypatch.setenv(VARIABLE, "")
    assert library() == "blas"
    monkeypatch.setenv(VARIABLE, "onednn")
    assert library() == "onednn"


def test_an_unknown_library_is_refused(monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "cublas")
    with pytest.raises(ParameterError, match="AFFECTBOOK_PRODUCTS .*cublas"):
        library()
