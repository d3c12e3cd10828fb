"""Which tokens have been replaced? A small generator puts plausible tokens in, the model tells them from the true ones.

    generator G         predicts hidden tokens, as in `masked`; one token is drawn from each of its distributions
    discriminator D     reads the row with the drawn tokens and says for every position: original or replaced

    Loss = mean over hidden positions of -log p_G(w_t) + 50 · mean over all real positions of -log p_D(right answer)

D learns from every position instead of 15 % of them, which makes it several times cheaper to train than BERT; D is
what is kept. G and D share their embeddings, G has fewer layers, and no gradient runs through the drawing. Where G
happens to draw the true token, it counts as original. (Clark et al., "ELECTRA: Pre-training Text Encoders as
Discriminators Rather Than Generators", 2020.)

D learns nothing until it sees what fits what, and from its own answers it finds that out slowly: with a few million
tokens to read it stays at the majority's rate. With `generator_shares=all` both are one encoder with two outputs (the
paper's section 3.2, where it does as well, at the price of a generator as large as D): what filling gaps teaches
is there for telling, and after 1.6 million tokens D is right more often than the majority (the recipe `electra`).

Metrics: D's accuracy beside the share of originals, which is what "original" everywhere would reach, and G's.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.data.forms.masked import ELECTRA, Masked
from nextword.data.labelled import Labelled
from nextword.data.marks import Marks
from nextword.models.create import drawn
from nextword.models.families.electra import generator_config
from nextword.models.scores import head_logprobs
from nextword.models.transformer import Transformer
from nextword.nn.loss import IGNORED, Loss, Term
from nextword.objectives.base import SCORED_AT_ONCE, Part, Sums, inputs
from nextword.objectives.masked import HONOURS, KINDS, hider
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

HEAD = "replaced_token"
WEIGHT = 50.0  # the paper's: the discriminator's loss per position is much smaller than the generator's
GENERATOR_SHARE = 4  # the generator has a quarter of the layers; the paper found a quarter to a half best


class ReplacedToken:
    """Two terms: generator, and replaced_token with its weight. `extra` is the generator."""

    kinds = KINDS
    additive = True
    names = ("generator", "replaced_token")

    def __init__(self, form: Masked, generator: Transformer, weight: float = WEIGHT) -> None:
        self.form, self.extra, self.weight = form, generator, weight

    def counts(self, rows: Labelled) -> dict[str, int]:
        """Hidden tokens, and real positions."""
        return {"generator": rows.labels, "replaced_token": rows.tokens}

    def __call__(self, model: Transformer, rows: Labelled) -> Loss:
        """Both terms."""
        return self.loss(model, rows)[0]

    def loss(self, model: Transformer, rows: Labelled) -> tuple[Loss, Tensor, Tensor, Tensor]:
        """The terms; for each position, whether it was replaced, the odds given that it was, and whether it is real."""
        hidden_BTD = self.extra.hidden(inputs(rows)).hidden_BTD
        logp_BT = head_logprobs(self.extra.head, hidden_BTD, rows.labels_BT, self.extra.output_VD)
        chosen_BT = rows.labels_BT != IGNORED
        ids_BT = torch.where(chosen_BT, rows.labels_BT, rows.ids_BT)  # the original text
        drawn_M = sample(self.extra, hidden_BTD[chosen_BT].detach(), rows.noise_BT[chosen_BT])
        replaced_BT = chosen_BT.clone()
        replaced_BT[chosen_BT] = drawn_M != rows.labels_BT[chosen_BT]
        corrupted = inputs(rows)
        corrupted = type(corrupted)(
            ids_BT.masked_scatter(chosen_BT, drawn_M), rows.mask_BT, rows.segments_BT, rows.types_BT
        )
        odds_BT = model.heads[HEAD](model.hidden(corrupted).hidden_BTD, corrupted)
        real_BT = torch.ones_like(chosen_BT) if rows.mask_BT is None else rows.mask_BT
        wrong_BT = F.binary_cross_entropy_with_logits(odds_BT, replaced_BT.to(odds_BT.dtype), reduction="none")
        terms = {
            "generator": Term(-logp_BT.sum(), chosen_BT.sum()),
            "replaced_token": Term((wrong_BT * real_BT).sum(), real_BT.sum(), self.weight),
        }
        return terms, replaced_BT, odds_BT, real_BT

    def look(self, model: Transformer, rows: Labelled) -> tuple[Loss, Sums]:
        """The loss, and how many positions there are, were replaced, and were told right."""
        loss, replaced_BT, odds_BT, real_BT = self.loss(model, rows)
        told_BT = ((odds_BT > 0) == replaced_BT) & real_BT
        found_BT = replaced_BT & (odds_BT > 0)
        chosen = loss["generator"].count
        sums = {"positions": real_BT.sum(), "replaced": replaced_BT.sum(), "told": told_BT.sum()}
        sums |= {"found": found_BT.sum(), "hidden": chosen}
        return loss, {name: value.cpu() for name, value in sums.items()}

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The discriminator's accuracy, the share of originals, and of the replaced tokens those that were found."""
        positions, replaced = max(int(sums["positions"]), 1), int(sums["replaced"])
        return {
            "replaced_token_accuracy": int(sums["told"]) / positions,
            "majority_accuracy": max(replaced, positions - replaced) / positions,
            "replaced_found": int(sums["found"]) / max(replaced, 1),
            "generator_accuracy": 1 - replaced / max(int(sums["hidden"]), 1),
        }


@torch.no_grad()
def sample(generator: Transformer, hidden_MD: Tensor, noise_M: Tensor) -> Tensor:
    """A token for each position, (M,), where its noise in [0, 1) falls in the distribution (inversion).

    So a row's tokens depend on its own noise alone, however the batch is split.
    """
    drawn = []
    for start in range(0, len(hidden_MD), SCORED_AT_ONCE):
        some = slice(start, start + SCORED_AT_ONCE)
        below_MV = generator.logits(hidden_MD[some]).softmax(-1).cumsum(-1)
        noise_M1 = noise_M[some, None].to(below_MV.dtype) * below_MV[:, -1:]
        drawn.append(torch.searchsorted(below_MV, noise_M1, right=True).squeeze(1).clamp(max=below_MV.shape[1] - 1))
    return torch.cat(drawn) if drawn else noise_M.new_zeros(0, dtype=torch.int64)


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> ReplacedToken:
    """Makes the generator, which shares embeddings or all layers with the model; SettingsError without its head."""
    if HEAD not in model.heads:
        raise SettingsError("this model has no head that tells replaced tokens: choose --model electra")
    depth = settings.generator_depth or max(1, len(model.blocks) // GENERATOR_SHARE)
    if settings.generator_shares == "all":
        depth = len(model.blocks)
    generator = drawn(generator_config(model.config, depth), seed + 1)
    generator.embedding = model.embedding  # tokens, positions and types
    if settings.generator_shares == "all":
        generator.blocks, generator.norm = model.blocks, model.norm
    form = Masked(Marks.of(tokenizer), hider(settings, tokenizer, ELECTRA), settings.packed, noise=True)
    weight = WEIGHT if settings.discriminator_weight is None else settings.discriminator_weight
    return ReplacedToken(form, generator, weight)


PART = Part(KINDS, HONOURS | {"generator_depth", "generator_shares", "discriminator_weight"}, make)
