"""A mixture of experts: many feed-forwards, of which each token passes only a few, those that a router chooses for it.

    p = softmax(W_r x)      s = the `chosen` largest of p      y = Σ_{i in s} p_i · E_i(x)   [+ σ(w · x) · E_shared(x)]

So a model may hold far more numbers than a token is multiplied with (Shazeer et al., "Outrageously Large Neural
Networks", 2017; Fedus et al., "Switch Transformers", 2021; Jiang et al., "Mixtral of Experts", 2024). The weights of
the chosen may be divided by their sum, which makes the softmax one over the chosen alone. A shared expert serves every
token, as strongly as a gate of its own lets it (Qwen 1.5-MoE, 2024).

A router left to itself soon sends everything to the few experts that learnt first. What pulls it apart is

    balance = X · Σ_x f_x · p_x        f_x: how many choices of x there are for each token, p_x: its mean probability

over all layers together (Lepikhin et al., "GShard", 2020; Switch). It is `chosen` where all X experts are used alike,
and the more the fewer are used. Only p has a gradient; f says where it should push.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.nn.feedforward import FeedForwardSettings, GatedFeedForward
from nextword.nn.init import EmptyLinear, normal


@dataclass(frozen=True)
class MixtureSettings(FeedForwardSettings):
    """The feed-forward's settings are those of each expert, which is gated.

    experts: how many there are. chosen: how many a token passes. renormalise: the weights of these sum to 1.
    shared_width: in the middle of the expert that serves all (0: there is none). balance: the weight of that loss.
    """

    experts: int = 8
    chosen: int = 2
    renormalise: bool = True
    shared_width: int = 0
    balance: float = 0.0

    def expert(self, ffn_width: int | None = None) -> FeedForwardSettings:
        """One expert, or the one that is shared."""
        width = self.ffn_width if ffn_width is None else ffn_width
        return FeedForwardSettings(self.width, width, self.activation, self.bias, dropout=self.dropout)


class Balance:
    """What the routers of all layers chose in one call; `real_N` says which tokens count (None: all)."""

    def __init__(self, real_N: Tensor | None = None) -> None:
        self.real_N = real_N
        self.probabilities: list[Tensor] = []  # summed over tokens, one of X for each layer
        self.choices: list[Tensor] = []
        self.tokens = 0

    def add(self, p_NX: Tensor, chosen_NC: Tensor) -> None:
        """The probabilities and the choices of one layer."""
        if self.real_N is not None:
            p_NX, chosen_NC = p_NX[self.real_N], chosen_NC[self.real_N]
        self.probabilities.append(p_NX.sum(0))
        self.choices.append(torch.bincount(chosen_NC.flatten(), minlength=p_NX.shape[1]))
        self.tokens = len(p_NX)

    def loss(self) -> Tensor:
        """X · Σ f_x · p_x over all layers."""
        seen = max(len(self.choices) * self.tokens, 1)
        p_X, f_X = sum(self.probabilities) / seen, sum(self.choices) / seen
        return len(p_X) * (f_X * p_X).sum()


class Expert(GatedFeedForward):
    """One of thousands in a model: nothing is drawn for it when it is made."""

    LINEAR = EmptyLinear


class Router(nn.Linear):
    """Scores of the experts: small, and decided by differences, so that whoever shrinks weights leaves it as it is."""


class Mixture(nn.Module):
    """x_BTD -> what each token's experts make of it, of the same shape."""

    def __init__(self, settings: FeedForwardSettings) -> None:
        super().__init__()
        assert isinstance(settings, MixtureSettings)
        self.settings = settings
        self.router = Router(settings.width, settings.experts, bias=False)
        self.experts = nn.ModuleList(Expert(settings.expert()) for _ in range(settings.experts))
        self.shared, self.shared_gate = None, None
        if settings.shared_width:
            self.shared = Expert(settings.expert(settings.shared_width))
            self.shared_gate = nn.Linear(settings.width, 1, bias=False)

    def forward(self, x_BTD: Tensor, balance: Balance | None = None) -> Tensor:
        """Each token by itself; `balance` is told what the router chose."""
        x_ND = x_BTD.flatten(0, -2)
        share_NC, chosen_NC = self.route(x_ND, balance)
        y_ND = self.passed(x_ND, share_NC, chosen_NC)
        if self.shared is not None:
            y_ND = y_ND + torch.sigmoid(self.shared_gate(x_ND)) * self.shared(x_ND)
        return y_ND.view_as(x_BTD)

    def route(self, x_ND: Tensor, balance: Balance | None) -> tuple[Tensor, Tensor]:
        """The weights of each token's experts, and which they are; in fp32, where near ties are told apart."""
        p_NX = torch.softmax(self.router(x_ND), -1, dtype=torch.promote_types(x_ND.dtype, torch.float32))
        share_NC, chosen_NC = p_NX.topk(self.settings.chosen)
        if balance is not None:
            balance.add(p_NX, chosen_NC)
        if self.settings.renormalise:
            share_NC = share_NC / share_NC.sum(-1, keepdim=True)
        return share_NC.to(x_ND.dtype), chosen_NC

    def passed(self, x_ND: Tensor, share_NC: Tensor, chosen_NC: Tensor) -> Tensor:
        """The weighted sum of what its experts make of each token: tokens sorted by expert, each expert runs once.

        In training an expert without tokens runs all the same, on none of them: its gradient is then 0 and not missing,
        and processes that shard the weights agree on what they exchange.
        """
        order_M = chosen_NC.flatten().argsort(stable=True)  # places in (N, C), the first expert's first
        token_M = order_M // self.settings.chosen
        counts = torch.bincount(chosen_NC.flatten(), minlength=self.settings.experts).tolist()
        parts, training = x_ND[token_M].split(counts), torch.is_grad_enabled()
        made = [expert(part) for expert, part in zip(self.experts, parts, strict=True) if len(part) or training]
        made_MD = torch.cat(made) * share_NC.flatten()[order_M, None]
        return torch.zeros_like(x_ND).index_add_(0, token_M, made_MD)

    @property
    def idle(self) -> int:
        """The numbers of the experts that a token does not pass."""
        one = sum(weight.numel() for weight in self.experts[0].parameters())
        return (self.settings.experts - self.settings.chosen) * one

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """As feed-forwards are; router and gate normal."""
        normal(self.router.weight, std, generator)
        for expert in self.experts:
            expert.initialise(std, output_std, generator)  # type: ignore[operator]
        if self.shared is not None:
            self.shared.initialise(std, output_std, generator)
            normal(self.shared_gate.weight, std, generator)
