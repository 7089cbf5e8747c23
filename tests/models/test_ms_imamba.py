"""MS-iMamba: its size, what a prediction depends on, every switch, and the network spelt out."""

from __future__ import annotations

import re

import numpy as np
import plain_ms_imamba as plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models.eeg_scaling import EegScaler
from affectbook.models.ms_imamba import DIRECTIONS, MSiMamba, Scan
from affectbook.models.network import WindowNet
from affectbook.models.ssm import Mamba

SHAPES = ((4, 128, 2), (4, 200, 3), (19, 128, 2), (1, 64, 2))
SWITCHES = (
    {}, {"mstb": 0}, {"mstb": 2}, {"k": 1}, {"k": 5}, {"periods": "batch"},
    {"periods": "log_spaced"}, {"weights": "normalised"}, {"weights": "equal"},
    {"rounding": "floor"}, {"hidden": 8}, {"tsfb": False}, {"tsfb": False, "mstb": 0},
    {"embedding": "R1"}, {"embedding": "R3"}, {"embedding": "R3", "patch": 30},
    {"embedding": "normal"}, {"mixer": "attention"}, {"mixer": "mlp"}, {"mixer": "identity"},
    {"mixer": "attention", "d_model": 30}, {"direction": "backward"}, {"direction": "both"},
    {"d_model": 64, "n_layers": 3}, {"d_state": 4, "d_conv": 2, "expand": 1},
)  # fmt: skip


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def windows(n: int, n_chans: int, n_times: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def built(*shape: int, seed: int = 0, **switches: object) -> MSiMamba:
    torch.manual_seed(seed)
    return MSiMamba(*shape, **switches)


def alone(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(window[None]) for window in x])


@pytest.mark.parametrize(
    ("shape", "embedding", "head", "total"),
    [((4, 128, 2), 16_512, 1_026, 324_698), ((4, 200, 3), 25_728, 1_539, 334_427),
     ((4, 384, 2), 49_280, 1_026, 357_466)],
)  # fmt: skip
def test_parts_have_the_declared_numbers_of_weights(shape, embedding, head, total) -> None:
    model = built(*shape)
    assert parameters(model.mstb) == 73_432
    assert parameters(model.tsfb.embedding) == embedding
    assert parameters(model.tsfb.layers) == 233_472 == 2 * (116_480 + 2 * 128)
    assert parameters(model.tsfb.norm) == 256
    assert parameters(model.head) == head
    assert parameters(model) == total


def test_the_smaller_scan_has_the_declared_number_of_weights() -> None:
    assert parameters(built(4, 128, 2, d_conv=2, expand=1)) == 207_706


def test_the_mlp_has_about_as_many_weights_as_the_scan() -> None:
    mlp, scan = (built(4, 128, 2, mixer=mixer).tsfb.layers for mixer in ("mlp", "mamba"))
    assert parameters(mlp) == pytest.approx(parameters(scan), rel=0.01)


@pytest.mark.parametrize(
    ("shape", "switches"), [((4, 128, 2), {}), ((4, 200, 3), {"mstb": 2, "n_layers": 3})], ids=str
)
def test_the_network_equals_its_definition(shape, switches, relative_error) -> None:
    model, x = built(*shape, **switches), windows(4, *shape[:2])
    with torch.no_grad():
        assert relative_error(model(x), plain.network(model, x)) < 1e-5
        exact, x = model.double(), x.double()
        assert relative_error(exact(x), plain.network(exact, x)) < 1e-12


@settings(max_examples=8, deadline=None)
@given(
    n_chans=st.integers(1, 5), n_times=st.integers(6, 40), d_state=st.integers(1, 6),
    d_conv=st.integers(1, 5), expand=st.integers(1, 2), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_a_network_of_any_size_equals_its_definition(
    n_chans, n_times, d_state, d_conv, expand, seed
) -> None:
    sizes = {"d_state": d_state, "d_conv": d_conv, "expand": expand}
    model = built(n_chans, n_times, 2, seed=seed, d_model=8, hidden=3, **sizes).double()
    x = windows(3, n_chans, n_times, seed).double()
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain.network(model, x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_a_prediction_does_not_depend_on_the_windows_beside_it(dtype, bar, relative_error) -> None:
    model, x = built(4, 128, 2).to(dtype), windows(64, 4, 128).to(dtype)
    with torch.no_grad():
        assert relative_error(model(x), alone(model, x)) < bar


@pytest.mark.parametrize("switches", [s for s in SWITCHES if s != {"periods": "batch"}], ids=str)
def test_no_switch_but_the_batch_rule_joins_windows(switches, relative_error) -> None:
    model, x = built(4, 64, 2, **switches).double(), windows(5, 4, 64).double()
    with torch.no_grad():
        assert relative_error(model(x), alone(model, x)) < 1e-12


def test_the_batch_rule_joins_windows() -> None:
    model, x = built(4, 128, 2, periods="batch"), windows(64, 4, 128)
    with torch.no_grad():
        assert (model(x) - alone(model, x)).abs().max() > 1e-4


def dependence(module: torch.nn.Module, n_chans: int, n_times: int = 32) -> torch.Tensor:
    """Return which token ``(l, c)`` changes with which electrode: whether a derivative is not 0."""
    x = windows(2, n_chans, n_times).requires_grad_()
    tokens = module(x)
    rows = []
    for i in range(tokens.shape[1]):
        direction = torch.zeros_like(tokens)
        direction[:, i] = windows(2, 1, tokens.shape[2], seed=i + 1)[:, 0]
        (gradient,) = torch.autograd.grad(tokens, x, direction, retain_graph=True)
        rows.append((gradient != 0).any(-1).any(0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("switches", "part"),
    [({"direction": "forward"}, torch.tril), ({"direction": "backward"}, torch.triu),
     ({"direction": "both"}, torch.clone), ({"mixer": "attention"}, torch.clone),
     ({"mixer": "mlp"}, torch.clone), ({"mixer": "identity"}, lambda every: every.tril().triu())],
    ids=["forward", "backward", "both", "attention", "mlp", "identity"],
)  # fmt: skip
@pytest.mark.parametrize("n_chans", [4, 19])
def test_which_electrodes_a_token_depends_on(n_chans, switches, part) -> None:
    found = dependence(built(n_chans, 32, 2, **switches).tsfb, n_chans)
    assert torch.equal(found, part(torch.ones(n_chans, n_chans, dtype=torch.bool)))


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_a_scan_follows_the_order_of_the_electrodes(order) -> None:
    found = dependence(built(4, 32, 2, d_model=16, order=order).tsfb, 4)
    assert torch.equal(found[:, order], torch.ones(4, 4, dtype=torch.bool).tril())


def test_the_foldings_join_electrodes_before_the_scan() -> None:
    first = {mstb: dependence(_Tokens(built(4, 32, 2, mstb=mstb)), 4)[0] for mstb in (0, 1)}
    assert first[0].tolist() == [True, False, False, False]
    assert first[1].all()


class _Tokens(torch.nn.Module):
    def __init__(self, model: MSiMamba) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.tokens(x)


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_an_order_is_a_permutation_of_what_the_scan_sees(order) -> None:
    switches = {"d_model": 16, "mstb": 0}
    model, ordered = built(4, 32, 2, **switches), built(4, 32, 2, order=order, **switches)
    x = windows(3, 4, 32)
    assert torch.equal(ordered(x), model(x[:, order]))
    if list(order) != [0, 1, 2, 3]:
        assert (ordered(x) - model(x)).abs().max() > 1e-4


def test_a_scan_both_ways_is_the_sum_of_two() -> None:
    torch.manual_seed(0)
    scan, u = Scan(16, "both"), torch.randn(2, 5, 16)
    expected = scan.forwards(u) + scan.backwards(u.flip(1)).flip(1)
    torch.testing.assert_close(scan(u), expected)
    assert parameters(scan) == 2 * parameters(Mamba(16))
    one = Scan(16, "backward")
    one.backwards.load_state_dict(scan.backwards.state_dict())
    torch.testing.assert_close(one(u), scan.backwards(u.flip(1)).flip(1))


@pytest.mark.parametrize(
    ("switches", "tokens", "width"),
    [({}, 4, 128), ({"embedding": "R1"}, 4, 200), ({"embedding": "R3"}, 4 * 13, 128),
     ({"embedding": "R3", "patch": 50}, 4 * 4, 128), ({"embedding": "normal"}, 200, 128),
     ({"tsfb": False}, 4, 200)],
    ids=str,
)  # fmt: skip
def test_what_a_token_is(switches, tokens, width) -> None:
    model = built(4, 200, 3, **switches)
    assert model.tokens(windows(2, 4, 200)).shape == (2, tokens, width)
    assert model.head.in_features == tokens * width


@pytest.mark.parametrize(
    ("kind", "position", "changed"),
    [("R1", (2, 37), [2]), ("R2", (2, 37), [2]), ("R3", (2, 37), [2 * 4 + 37 // 10]),
     ("normal", (2, 37), [37])],
)  # fmt: skip
def test_which_token_a_sample_is_in(kind, position, changed) -> None:
    embedding = built(4, 38, 2, embedding=kind, patch=10).tsfb.embedding
    x = windows(1, 4, 38)
    before = embedding(x).clone()
    x[(0, *position)] += 1
    differs = (embedding(x) != before).any(-1)[0]
    assert differs.nonzero()[:, 0].tolist() == changed


def unused(model: MSiMamba, switches: dict[str, object]) -> set[str]:
    """Return the weights that a network has and does not need."""
    names = []
    if switches.get("mixer") == "identity":
        names.append(r"tsfb\.layers\.\d\.norm\..*")
    if model.tsfb is not None and model.tsfb.embedding.n_tokens == 1:
        names.append(r".*\.A_log")  # how the first state decays is not seen without a second token
    return {n for n, _ in model.named_parameters() if any(re.fullmatch(r, n) for r in names)}


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_and_gradients(shape, switches) -> None:
    n_chans, n_times, n_outputs = shape
    model = built(*shape, **switches)
    logits = model(windows(3, n_chans, n_times))
    assert logits.shape == (3, n_outputs) and logits.isfinite().all()
    logits.square().sum().backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle <= unused(model, switches)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 1, 2, 2), (1, 2, 3, 4), (0, 1, 2, 3, 4)])
def test_an_order_that_is_no_permutation_is_refused(order) -> None:
    with pytest.raises(ParameterError, match=re.escape(f"order {order} is no permutation of 0 to")):
        MSiMamba(4, 128, 2, order=order)


@pytest.mark.parametrize("switch", ["periods", "weights", "rounding"])
def test_an_unknown_rule_of_the_foldings_is_refused(switch) -> None:
    with pytest.raises(ParameterError, match=f"{switch} must be one of .*, not 'none'"):
        MSiMamba(4, 128, 2, **{switch: "none"})


@pytest.mark.parametrize("switch", ["embedding", "mixer", "direction"])
def test_an_unknown_kind_is_refused_and_the_known_ones_are_named(switch) -> None:
    with pytest.raises(ParameterError, match=f"{switch} must be one of .*, not 'none'"):
        MSiMamba(4, 128, 2, **{switch: "none"})
    with pytest.raises(ParameterError, match=", ".join(map(repr, DIRECTIONS))):
        MSiMamba(4, 128, 2, direction="up")


@pytest.mark.parametrize("size", ["d_model", "patch", "d_state", "d_conv", "expand"])
def test_a_size_below_one_is_refused(size) -> None:
    with pytest.raises(ParameterError, match=f"{size}.* 0"):
        MSiMamba(4, 128, 2, **{size: 0})


@pytest.mark.parametrize("k", [1, 3, 5])
def test_shortest_window(k) -> None:
    assert built(3, 2 * k, 2, k=k)(windows(2, 3, 2 * k)).shape == (2, 2)
    with pytest.raises(ParameterError, match=f"for {k} periods: the minimum is {2 * k} samples"):
        MSiMamba(3, 2 * k - 1, 2, k=k)


def test_the_same_seed_gives_the_same_network_and_a_prediction_repeats() -> None:
    one, other = built(4, 128, 2).eval(), built(4, 128, 2).eval()
    x = windows(6, 4, 128)
    assert torch.equal(one(x), other(x)) and torch.equal(one(x), one(x))
    assert not torch.equal(built(4, 128, 2, seed=1)(x), one(x))


def test_trained_as_every_network_here() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 4, 64)).astype(np.float32)
    y = np.arange(12) % 2
    net = WindowNet(
        MSiMamba, module__n_chans=4, module__n_times=64, module__n_outputs=2,
        module__d_model=16, module__hidden=4, max_epochs=1, batch_size=6, scaler=EegScaler(),
    )  # fmt: skip
    probabilities = net.fit(X, y, valid=(X[:4], y[:4])).predict_proba(X)
    assert probabilities.shape == (12, 2) and np.isfinite(probabilities).all()
