"""The two pretexts: their losses in NumPy, what heads can tell apart, and scores of known heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn

from affectbook import augment, pretrain
from affectbook.augment import NAMES
from affectbook.errors import ParameterError
from affectbook.models.pretexts import Contrastive, ContrastiveNetwork, Transformations, nt_xent
from affectbook.models.scaling import of_subjects

N_TIMES = 64
# As the released code has them: they sum to one.
PUBLISHED = {"original": 0.195, "noise": 0.195, "scaling": 0.195, "negation": 0.0125,
             "inversion": 0.0125, "permutation": 0.195, "time_warp": 0.195}  # fmt: skip
SOME = ("original", "noise", "negation")


def windows(n: int = 4, n_times: int = N_TIMES, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, n_times, generator=torch.Generator().manual_seed(seed))


def drawn(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(pretext: Transformations | Contrastive) -> nn.Module:
    """Return a network without dropout in which no bias is zero."""
    torch.manual_seed(0)
    network = pretext.network(1)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


class Fixed(nn.Module):
    """Answers what it was given, whatever it is shown, and has no kernels."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = nn.Parameter(answers)

    def forward(self, x: Tensor) -> Tensor:
        return self.answers.expand(len(x), -1) if len(self.answers) == 1 else self.answers

    def kernels(self) -> list[nn.Parameter]:
        return []


class Knows(Fixed):
    """Answers as `answers` has it for each of its rows: the versions of a window."""

    def forward(self, x: Tensor) -> Tensor:
        return self.answers.repeat_interleave(len(x) // len(self.answers), 0)


# Which transformation it was.


def in_numpy(
    logits: np.ndarray, target: np.ndarray, alpha: Sequence[float], kernels: Sequence[np.ndarray]
) -> float:
    """Return the published loss as it is written down."""
    said = 1 / (1 + np.exp(-logits))
    each = -(target * np.log(said) + (1 - target) * np.log(1 - said)).mean(0)
    penalty = sum(0.5 * (kernel**2).sum() for kernel in kernels)
    return float((np.array(alpha) * each).sum() + 1e-4 * penalty)


@pytest.mark.parametrize("tasks", [NAMES, SOME, ("time_warp",)])
@pytest.mark.parametrize("alpha", ["published", "equal"])
def test_the_loss_is_that_of_its_definition(tasks, alpha) -> None:
    pretext, x = Transformations(tasks, alpha), windows()
    network = built(pretext).double()
    made, target = pretext.versions(x.double(), drawn())
    given = [PUBLISHED[task] if alpha == "published" else 1.0 for task in tasks]
    kernels = [value.numpy() for name, value in network.state_dict().items()
               if name.endswith("weight")]  # fmt: skip
    assert len(kernels) == 6 + 3 * len(tasks)
    logits = network(made).detach().numpy()
    expected = in_numpy(logits, target.numpy(), np.array(given) / sum(given), kernels)
    assert pretext(network, x.double(), drawn()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("tasks", "alpha"), [(NAMES, "published"), (NAMES, "equal"),
                                              (SOME, "published"), (SOME, "equal")])  # fmt: skip
def test_weights_of_heads_sum_to_one_and_keep_their_ratios(tasks, alpha) -> None:
    pretext, target = Transformations(tasks, alpha), Transformations(tasks).versions(
        windows(), drawn())[1]  # fmt: skip
    certain = 200 * target - 100  # costs nothing; a logit of 0 costs log 2
    found = []
    for column in range(len(tasks)):
        unsure = certain.clone()
        unsure[:, column] = 0
        found.append(pretext(Fixed(unsure), windows(), drawn()).item() / np.log(2))
    assert sum(found) == pytest.approx(1)
    given = np.array([PUBLISHED[task] if alpha == "published" else 1.0 for task in tasks])
    assert found == pytest.approx(given / given.sum(), rel=1e-5)
    if tasks == NAMES and alpha == "published":
        assert found == pytest.approx(list(PUBLISHED.values()), rel=1e-5)


@pytest.mark.parametrize("tasks", [NAMES, SOME])
def test_one_head_is_a_softmax_over_the_versions(tasks) -> None:
    pretext, x = Transformations(tasks, single_head=True), windows()
    network = built(pretext).double()
    made, target = pretext.versions(x.double(), drawn())
    logits = network(made).detach().numpy()
    assert logits.shape == (len(x) * len(tasks), len(tasks))
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = -np.log(share[target.numpy() > 0]).mean()
    penalty = sum(0.5 * kernel.square().sum().item() for kernel in network.kernels())
    found = pretext(network, x.double(), drawn()).item()
    assert found == pytest.approx(entropy + 1e-4 * penalty, rel=1e-6)


def test_versions_are_the_transformations_and_targets_name_them() -> None:
    x = windows(5)
    made, target = Transformations(factor=2.0, snr_db=3.0).versions(x, drawn())
    strengths = augment.Strengths(factor=2.0, snr_db=3.0)
    assert torch.equal(made.view(7, 5, 1, -1), augment.versions(x, drawn(), strengths))
    assert torch.equal(made[10:15], 2 * x)
    assert torch.equal(target.view(7, 5, 7), torch.eye(7)[:, None].expand(7, 5, 7))


def test_some_tasks_are_told_from_the_original_which_is_always_shown() -> None:
    x = windows(3)
    alone = Transformations(("negation",))
    made, target = alone.versions(x, drawn())
    assert torch.equal(made, torch.cat([x, -x]))
    assert target.flatten().tolist() == [0] * 3 + [1] * 3
    assert alone.shown == ("original", "negation")
    # Heads stand in the order of the tasks, versions in that of `NAMES`.
    two = Transformations(("inversion", "original"))
    made, target = two.versions(x, drawn())
    assert two.shown == ("original", "inversion")
    assert torch.equal(made, torch.cat([x, x.flip(-1)]))
    assert target.tolist() == [[0, 1]] * 3 + [[1, 0]] * 3
    assert len(built(two).heads) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tasks": ()}, "not among original"), ({"tasks": ("original",)}, "not among original"),
        ({"tasks": ("noise", "shift")}, "'shift'.*not among original, noise"),
        ({"alpha": "learnt"}, "'published' or 'equal', not 'learnt'"),
    ],
)  # fmt: skip
def test_a_pretext_with_nothing_to_tell_apart_is_refused(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        Transformations(**given).network(1)


# What heads score.


def scores_of(answers: Tensor, n_windows: int = 40, **given: object) -> dict[str, dict]:
    """Return the scores of heads whose answers to each version are known."""
    table = Transformations(**given).scores(Knows(answers), windows(n_windows).numpy())
    assert list(table.columns) == ["head", "f1", "balanced_accuracy", "accuracy", "auc"]
    return {row.pop("head"): row for row in table.to_dict("records")}


def test_a_head_that_always_says_no_is_right_six_times_of_seven_and_worth_nothing() -> None:
    found = scores_of(torch.full((7, 7), -3.0))
    assert tuple(found) == NAMES
    for row in found.values():
        assert row == {
            "f1": 0, "balanced_accuracy": 0.5, "accuracy": pytest.approx(6 / 7), "auc": 0.5,
        }  # fmt: skip


def test_a_head_that_always_says_yes() -> None:
    for row in scores_of(torch.full((7, 7), 3.0)).values():
        assert row["f1"] == pytest.approx(2 / 8) and row["accuracy"] == pytest.approx(1 / 7)
        assert row["balanced_accuracy"] == row["auc"] == 0.5


def test_heads_that_know_are_right_always() -> None:
    for row in scores_of(20 * torch.eye(7) - 10).values():
        assert row == {"f1": 1, "balanced_accuracy": 1, "accuracy": 1, "auc": 1}


def test_a_score_belongs_to_its_head() -> None:
    answers = 20 * torch.eye(7) - 10
    answers[:, [1, 2]] = answers[:, [2, 1]]
    found = scores_of(answers)
    assert [name for name, row in found.items() if row["f1"] < 1] == ["noise", "scaling"]
    assert found["noise"]["f1"] == 0 and found["noise"]["accuracy"] == pytest.approx(5 / 7)
    assert found["noise"]["balanced_accuracy"] == pytest.approx(5 / 12)
    alone = scores_of(torch.tensor([[-1.0], [1.0]]), tasks=("inversion",))
    assert alone["inversion"]["f1"] == 1


def test_a_head_that_guesses_is_at_chance() -> None:
    coins = torch.randn(7 * 600, 7, generator=drawn(3))

    class Guesses(Fixed):
        def forward(self, x: Tensor) -> Tensor:
            made, self.left = self.left[: len(x)], self.left[len(x) :]
            return made

    network = Guesses(torch.zeros(1, 1))
    network.left = coins
    table = Transformations().scores(network, windows(600).numpy())
    assert not len(network.left), "every version of every window"
    for measure in ("balanced_accuracy", "auc"):
        assert table[measure].between(0.44, 0.56).all()
    assert table["f1"].between(0.17, 0.27).all(), "as many say yes: 2 / 7 x 1 / 2 / (1 / 7 + 1 / 2)"


def test_one_head_names_one_version_of_each() -> None:
    known = scores_of(torch.eye(7), single_head=True)
    assert all(row["f1"] == 1 for row in known.values()), "the largest, were it below 0"
    one = torch.zeros(7, 7)
    one[:, 2] = 1
    found = scores_of(one, single_head=True)
    assert [name for name, row in found.items() if row["f1"] > 0] == ["scaling"]
    assert found["scaling"]["f1"] == pytest.approx(2 / 8)


def test_scores_are_of_a_network_at_rest_and_repeat_by_seed() -> None:
    pretext, X = Transformations(), windows(6).numpy()
    network = built(pretext).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = pretext.scores(network, X, seed=1)
    assert first.equals(pretext.scores(network.train(), X, seed=1)), "no dropout"
    assert not first.equals(pretext.scores(network, X, seed=2))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


# What a scaling of windows takes away.


def test_after_a_z_score_of_each_window_original_and_scaled_are_one_input() -> None:
    X = windows(6).numpy() * np.arange(1, 7, dtype=np.float32)[:, None, None] + 3
    subjects = ["S1"] * 3 + ["S2"] * 3
    factor = augment.PUBLISHED.factor
    alone = of_subjects(X, subjects, "per_window_zscore")
    scaled = of_subjects(factor * X, subjects, "per_window_zscore")
    np.testing.assert_allclose(scaled, alone, atol=5e-6)
    network = built(Transformations())
    with torch.no_grad():
        said = [network(torch.from_numpy(one)).numpy() for one in (alone, scaled)]
    np.testing.assert_allclose(*said, atol=1e-4)
    # No head can say yes to the one and no to the other: each is right about one of the two.
    both = np.concatenate(said)[:, [NAMES.index("original"), NAMES.index("scaling")]]
    sure = np.abs(both) > 1e-4
    assert ((both[:6] > 0) == (both[6:] > 0))[sure[:6]].all()
    # By subject the factor is seen.
    own = of_subjects(X, subjects, "per_subject_zscore")
    assert np.abs(factor * own - own).max() > 0.1


def test_negation_and_inversion_are_seen_after_it() -> None:
    X = windows(3).numpy()
    for change in (-X, X[..., ::-1]):
        alone, changed = (of_subjects(one, ["S1"] * 3, "per_window_zscore") for one in (X, change))
        assert np.abs(alone - changed).max() > 1


# Which two belong together.


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_that_of_its_definition(temperature) -> None:
    z = nn.functional.normalize(windows(10, 3)[:, 0].double(), dim=-1).numpy()
    terms = []
    for i in range(10):
        near = {j: np.exp(z[i] @ z[j] / temperature) for j in range(10) if j != i}
        terms.append(-np.log(near[(i + 5) % 10] / sum(near.values())))
    found = nt_xent(torch.from_numpy(z), temperature).item()
    assert found == pytest.approx(np.mean(terms), rel=1e-12)


def test_nt_xent_is_least_where_views_agree_and_windows_differ() -> None:
    apart, opposite = torch.eye(4), -torch.eye(4)
    together = nt_xent(torch.cat([apart, apart]), 0.1).item()
    assert together < 0.01 < nt_xent(torch.cat([apart, apart.roll(1, 0)]), 0.1).item()
    assert nt_xent(torch.cat([apart, opposite]), 0.1).item() > 10
    alike = torch.ones(8, 1)
    assert nt_xent(alike, 0.1).item() == pytest.approx(np.log(7)), "one of seven others"


@pytest.mark.parametrize(("n", "temperature"), [(2, 0.1), (0, 0.1), (5, 0.1), (4, 0.0), (4, -1)])
def test_one_window_or_no_temperature_is_refused(n, temperature) -> None:
    with pytest.raises(ParameterError, match=f"NT-Xent of {n} views at temperature"):
        nt_xent(torch.ones(n, 3), temperature)


def test_the_loss_is_nt_xent_of_two_views() -> None:
    pretext, x = Contrastive(temperature=0.3), windows()
    network = built(pretext)
    z = network(pretext.views(x, drawn()))
    assert z.shape == (8, 64)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(8))
    assert torch.equal(pretext(network, x, drawn()), nt_xent(z, 0.3))
    assert not torch.equal(pretext(network, x, drawn(8)), nt_xent(z, 0.3))


def kind_of(view: Tensor, x: Tensor) -> str:
    """Return which transformation made a view of a window that holds no number twice."""
    for name in ("original", "negation", "inversion", "scaling"):
        if torch.equal(view, augment.transform(name, x[None], drawn())[0]):
            return name
    if torch.equal(view.sort().values, x.sort().values):
        return "permutation"
    return "noise" if (view - x).square().mean() < 0.1 * x.square().mean() else "time_warp"


def test_views_are_transformed_versions_of_the_same_window() -> None:
    # Windows a thousand times apart: a view has the size of the window it was made of.
    size = 1000.0 ** torch.arange(-2.0, 3.0).repeat(60)
    x = windows(300) * size[:, None, None]
    views = Contrastive().views(x, drawn()).view(2, 300, 1, N_TIMES)
    kinds = [[kind_of(view, one) for view, one in zip(part, x, strict=True)] for part in views]
    for part, kind in zip(views, kinds, strict=True):
        root = part.square().mean((1, 2)).sqrt()
        assert (root / size).log().abs().max() < 1
        assert set(kind) == set(NAMES[1:]), "all six, and never the window as it is"
        assert min(kind.count(name) for name in NAMES[1:]) > 25, "each as often"
    both = np.mean([one == two for one, two in zip(*kinds, strict=True)])
    assert 0.08 < both < 0.26, "drawn by themselves: one in six are the same"


def test_views_have_the_strengths_that_are_asked_for() -> None:
    x = windows(40)
    views = Contrastive(factor=3.0, snr_db=60.0).views(x, drawn())[:40]
    ratio = (views / x).flatten(1)
    assert (ratio.sub(3).abs().amax(1) < 1e-5).any() and not (
        ratio.sub(1.1).abs().amax(1) < 1e-2).any()  # fmt: skip


@pytest.mark.parametrize(("shift", "accuracy"), [(0, 1.0), (1, 0.0)])
def test_scores_say_how_often_the_other_view_is_the_nearest(shift, accuracy) -> None:
    views = torch.eye(6)
    network = Fixed(torch.cat([views, views.roll(shift, 0)]))
    found = Contrastive().scores(network, windows(6).numpy())
    assert found.to_dict("records") == [
        {"head": "other_view", "accuracy": accuracy, "chance": pytest.approx(1 / 11)}
    ]


def test_scores_of_views_repeat_by_seed() -> None:
    pretext, X = Contrastive(), windows(40).numpy()
    network = built(pretext).train()
    first = pretext.scores(network, X)
    assert first.equals(pretext.scores(network, X)) and not network.training


# Both.


@pytest.mark.parametrize("pretext", [Transformations(), Contrastive(), Transformations(
    SOME, single_head=True)])  # fmt: skip
def test_a_pretext_can_be_learnt_and_trains_all_of_its_network(pretext) -> None:
    torch.manual_seed(0)
    network = clone(pretext).network(1)
    pretext(network, windows(6), drawn()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.any() for p in network.parameters())
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    history = pretrain.pretrain(network, pretext, windows(6).numpy(), epochs=1, batch_size=3,
                                seed=0)  # fmt: skip
    assert np.isfinite(history["loss"]).all()
    assert not any(torch.equal(before[name], value)
                   for name, value in network.encoder.state_dict().items())  # fmt: skip


@pytest.mark.parametrize("kind", [Transformations, Contrastive])
def test_options_of_the_encoder_are_handed_on(kind) -> None:
    network = kind().network(2, pooling="mean", batch_norm=True)
    assert network.encoder.pooling == "mean"
    assert any(isinstance(layer, nn.BatchNorm1d) for layer in network.encoder.modules())
    assert network.encoder(torch.randn(3, 2, N_TIMES)).shape == (3, 128)
    changed = clone(kind().set_params(factor=2.0, pieces=4, stretch=1.1))
    assert (changed.strengths.factor, changed.strengths.pieces) == (2.0, 4)
    assert changed.strengths.stretch == 1.1 and changed.strengths.warp_pieces == 9
    assert kind().strengths == augment.PUBLISHED


def test_the_projection_is_no_part_of_the_encoder() -> None:
    network = ContrastiveNetwork(1, projection=16)
    assert network.eval()(windows()).shape == (4, 16)
    assert not any("projection" in name for name in network.encoder.state_dict())
    assert not any(layer.bias.any() for layer in network.projection if hasattr(layer, "bias"))


def test_standardised_versions_leave_no_trace_of_the_scaling() -> None:
    x = torch.randn(5, 1, 256, generator=torch.manual_seed(0))
    for standardised in (False, True):
        made, _ = Transformations(standardised=standardised).versions(x, torch.manual_seed(0))
        original, scaled = made.reshape(7, 5, 1, 256)[[0, 2]]
        assert torch.allclose(original, scaled, atol=1e-5) is standardised
    assert torch.allclose(made.std(-1, correction=0), torch.ones(35, 1), atol=1e-5)
