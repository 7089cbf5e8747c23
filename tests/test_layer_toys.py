"""Toys of layers: a gate of numbers finds the layer that tells; a window's own needs a look."""

from __future__ import annotations

import pytest

from affectbook import layer_toys


@pytest.mark.parametrize("layer", [3, 8, 12])
@pytest.mark.parametrize("gate", ["static", "raw"])
def test_a_gate_of_numbers_finds_the_layer_that_carries_the_label(layer, gate) -> None:
    toy = layer_toys.one_layer_tells(layer, seed=layer)
    found, score = layer_toys.fitted(gate, toy)
    weights = found.weights(toy.x)[0].abs()
    assert weights.argmax() == layer - 1 and weights[layer - 1] > 2 * weights.sort()[0][-2]
    _, uniform = layer_toys.fitted("uniform", toy)
    assert score > uniform + 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_where_the_layer_depends_on_the_window_only_a_dynamic_gate_finds_it(seed) -> None:
    toy = layer_toys.by_window(4, 9, seed=seed)
    (_, static), (found, dynamic) = (
        layer_toys.fitted(gate, toy) for gate in ("static", "dynamic")
    )
    assert static < 0.7 and dynamic > 0.9
    weights = found.weights(toy.x).detach()
    taken = [weights[toy.right == one].mean(0).argmax().item() + 1 for one in (4, 9)]
    assert sorted(taken) == [4, 9], "one of the two for each kind of window: right or opposite"


def test_a_seed_makes_a_toy() -> None:
    one, two, other = (layer_toys.by_window(seed=seed).x for seed in (0, 0, 1))
    assert one.equal(two) and not one.equal(other)
