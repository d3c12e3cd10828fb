"""Mixtures of experts against their formula, one token at a time, in fp64; and the router's extremes."""

import pytest
import torch

from nextword.nn.moe import Balance, Mixture, MixtureSettings

WIDTH, EXPERTS, TOKENS = 6, 4, 10


def mixture(chosen: int = 2, renormalise: bool = True, shared_width: int = 0) -> Mixture:
    settings = MixtureSettings(
        WIDTH, 5, experts=EXPERTS, chosen=chosen, renormalise=renormalise, shared_width=shared_width
    )
    made = Mixture(settings).double()
    made.initialise(0.7, 0.7, torch.Generator().manual_seed(1))
    return made


def tokens(seed: int = 2) -> torch.Tensor:
    return torch.randn(2, TOKENS // 2, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expert(made: torch.nn.Module, x_D: torch.Tensor) -> torch.Tensor:
    return made.down.weight @ (torch.nn.functional.silu(made.gate.weight @ x_D) * (made.up.weight @ x_D))


def by_hand(made: Mixture, x_D: torch.Tensor) -> torch.Tensor:
    """The formula for one token, every expert asked, those that are not chosen weighted with 0."""
    p_X = (made.router.weight @ x_D).softmax(0)
    chosen = p_X >= p_X.sort(descending=True).values[made.settings.chosen - 1]
    weight_X = p_X * chosen / ((p_X * chosen).sum() if made.settings.renormalise else 1)
    parts = zip(made.experts, weight_X, strict=True)
    y_D = sum(w * expert(e, x_D) for e, w in parts)
    return y_D if made.shared is None else y_D + torch.sigmoid(made.shared_gate.weight @ x_D) * expert(made.shared, x_D)


@pytest.mark.parametrize("shared_width", [0, 3])
@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("chosen", [1, 2, EXPERTS])
def test_each_token_gets_the_weighted_sum_of_its_experts(chosen: int, renormalise: bool, shared_width: int) -> None:
    made, x_BTD = mixture(chosen, renormalise, shared_width), tokens()
    wanted = torch.stack([by_hand(made, x_D) for x_D in x_BTD.flatten(0, 1)]).view_as(x_BTD)
    torch.testing.assert_close(made(x_BTD), wanted)
    with torch.no_grad():  # where experts without tokens are not run
        torch.testing.assert_close(made(x_BTD), wanted)


def steered(chosen: int) -> tuple[Mixture, torch.Tensor]:
    """A router that sends every token to expert 2, then to 0 and so on: the first coordinate is the same for all."""
    made, x_BTD = mixture(chosen), tokens()
    x_BTD[..., 0] = 1.0
    with torch.no_grad():
        made.router.weight.zero_()
        made.router.weight[:, 0] = torch.tensor([3.0, 1.0, 9.0, 2.0])
    return made, x_BTD


def test_all_tokens_to_one_expert_and_the_others_without() -> None:
    made, x_BTD = steered(1)
    y_BTD = made(x_BTD)
    torch.testing.assert_close(y_BTD, made.experts[2](x_BTD))
    y_BTD.sum().backward()
    for number, one in enumerate(made.experts):
        assert all(w.grad is not None and bool(w.grad.any()) == (number == 2) for w in one.parameters())


def test_balance_by_hand() -> None:
    made, x_BTD = steered(2)
    p_X = torch.tensor([3.0, 1.0, 9.0, 2.0], dtype=torch.float64).softmax(0)
    balance = Balance()
    made(x_BTD, balance)
    assert balance.tokens == TOKENS
    torch.testing.assert_close(balance.loss(), EXPERTS * (p_X[2] + p_X[0]))


def test_balance_of_even_use_is_the_number_chosen() -> None:
    p_NX = torch.full((EXPERTS, EXPERTS), 1 / EXPERTS)
    balance = Balance()
    balance.add(p_NX, torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]]))
    assert balance.loss().item() == pytest.approx(2)


def test_padding_has_no_part_in_the_balance() -> None:
    made, x_BTD = mixture(), tokens()
    real_BT = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    padded, alone = Balance(real_BT.flatten()), Balance()
    made(x_BTD, padded)
    made(x_BTD.flatten(0, 1)[:7][None], alone)
    torch.testing.assert_close(padded.loss(), alone.loss())
    assert padded.tokens == alone.tokens


def test_the_balance_pushes_an_overused_expert_down() -> None:
    made, x_BTD = steered(1)
    balance = Balance()
    made(x_BTD, balance)
    balance.loss().backward()
    assert made.router.weight.grad[2, 0] > 0
    assert all(made.router.weight.grad[expert, 0] < 0 for expert in (0, 1, 3))
