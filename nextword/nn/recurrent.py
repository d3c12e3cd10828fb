"""The LSTM: a memory cell that is added to, not overwritten, and three gates that decide what goes in, stays, and out.

    i = σ(W_i x + U_i h + b_i)      input gate            c ← f ⊙ c + i ⊙ tanh(W_g x + U_g h + b_g)
    f = σ(W_f x + U_f h + b_f)      forget gate           h = o ⊙ tanh(c)
    o = σ(W_o x + U_o h + b_o)      output gate

(Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997; forget gate: Gers et al., 2000.) The recurrence itself is
PyTorch's, which has the gates in the order i, f, g, o and two biases that add up. Dropout falls between the layers and
never on the recurrence (Zaremba et al., "Recurrent Neural Network Regularization", 2014).

The state is h and c of each layer, the same size however long the text. It cannot be taken back: what was forgotten is
gone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nextword.core.errors import SettingsError
from nextword.nn.init import uniform, zeros


@dataclass(frozen=True)
class RecurrentSettings:
    """What a stack of LSTM layers is made of: the width of input, h and c, and the number of layers."""

    width: int
    depth: int
    dropout: float = 0.0


class LSTMState:
    """h_LBD and c_LBD after the tokens counted by lengths_B; never written to, so that copies may share it."""

    def __init__(self, h_LBD: Tensor, c_LBD: Tensor, lengths_B: Tensor) -> None:
        self.h_LBD, self.c_LBD, self.lengths_B = h_LBD, c_LBD, lengths_B

    def select(self, rows: Tensor) -> "LSTMState":
        """The given rows, in their order."""
        return LSTMState(self.h_LBD[:, rows], self.c_LBD[:, rows], self.lengths_B[rows])

    def crop(self, lengths_B: Tensor) -> "LSTMState":
        """Itself, or the empty state; SettingsError for anything between, which a recurrence cannot give back."""
        if torch.equal(lengths_B, self.lengths_B):
            return self
        if not lengths_B.any():
            return LSTMState(torch.zeros_like(self.h_LBD), torch.zeros_like(self.c_LBD), torch.zeros_like(lengths_B))
        raise SettingsError(
            "a recurrent state cannot be taken back to an earlier token: it keeps no history; use a strategy that "
            "never takes tokens back (sampling, beams), or read the text again from its start"
        )

    def fork(self, row: int, count: int) -> "LSTMState":
        """`count` copies of one row."""
        return self.select(torch.full((count,), row, dtype=torch.int64, device=self.lengths_B.device))


class Recurrence(nn.Module):
    """x_BTD -> h of the last layer after each token, of the same shape."""

    def __init__(self, settings: RecurrentSettings) -> None:
        super().__init__()
        self.settings = settings
        between = settings.dropout if settings.depth > 1 else 0.0
        self.lstm = nn.LSTM(settings.width, settings.width, settings.depth, batch_first=True, dropout=between)

    def start(self, rows: int, like: Tensor) -> LSTMState:
        """The state that has read nothing: zeros, of the type and on the device of `like`."""
        zeros_LBD = like.new_zeros(self.settings.depth, rows, self.settings.width)
        return LSTMState(zeros_LBD, zeros_LBD, torch.zeros(rows, dtype=torch.int64, device=like.device))

    def forward(self, x_BTD: Tensor, state: LSTMState, mask_BT: Tensor | None) -> tuple[Tensor, LSTMState]:
        """Reads on from `state`. Rows end where the mask does: behind that h is 0 and the state stays as it was."""
        memory = state.h_LBD, state.c_LBD
        if mask_BT is None:
            h_BTD, (h_LBD, c_LBD) = self.lstm(x_BTD, memory)
            return h_BTD, LSTMState(h_LBD, c_LBD, state.lengths_B + x_BTD.shape[1])
        counts_B = mask_BT.sum(1)
        packed = pack_padded_sequence(x_BTD, counts_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        out, (h_LBD, c_LBD) = self.lstm(packed, memory)
        h_BTD, _ = pad_packed_sequence(out, batch_first=True, total_length=x_BTD.shape[1])
        read_B1 = (counts_B > 0)[
            :, None
        ]  # a row without tokens cannot be packed: it reads one, and that is undone here
        h_LBD, c_LBD = torch.where(read_B1, h_LBD, memory[0]), torch.where(read_B1, c_LBD, memory[1])
        return h_BTD * mask_BT[..., None], LSTMState(h_LBD, c_LBD, state.lengths_B + counts_B)

    def initialise(self, generator: torch.Generator) -> None:
        """Weights even in ±1/√width, biases 0 but the forget gates' 1: at first everything is kept (Gers et al.)."""
        width = self.settings.width
        for name, tensor in self.lstm.named_parameters():
            if name.startswith("weight"):
                uniform(tensor, width**-0.5, generator)
            else:
                zeros(tensor)
            if name.startswith("bias_ih"):
                nn.init.ones_(tensor[width : 2 * width])
