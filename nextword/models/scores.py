"""Log-probabilities of given labels from hidden vectors, never holding all scores at once."""

from torch import Tensor

from nextword.nn.loss import linear_cross_entropy


def label_logprobs(hidden_BTD: Tensor, labels_BT: Tensor, weight_VD: Tensor, bias_V: Tensor | None = None) -> Tensor:
    """log softmax(W h + b)[label], fp32, (B, T); 0 where the label is -100. Differentiable."""
    nll_N = linear_cross_entropy(hidden_BTD.flatten(0, 1), weight_VD, labels_BT.flatten(), bias_V)
    return -nll_N.view_as(labels_BT)
