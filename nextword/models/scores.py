"""Log-probabilities of given labels from hidden vectors, never holding all scores at once."""

from torch import Tensor

from nextword.nn.head import Head
from nextword.nn.loss import IGNORED, linear_cross_entropy


def label_logprobs(hidden_BTD: Tensor, labels_BT: Tensor, weight_VD: Tensor, bias_V: Tensor | None = None) -> Tensor:
    """log softmax(W h + b)[label], fp32, (B, T); 0 where the label is -100. Differentiable."""
    nll_N = linear_cross_entropy(hidden_BTD.flatten(0, 1), weight_VD, labels_BT.flatten(), bias_V)
    return -nll_N.view_as(labels_BT)


def head_logprobs(head: Head, hidden_BTD: Tensor, labels_BT: Tensor, weight_VD: Tensor) -> Tensor:
    """The same through a head: its preparation, which is computed for the labelled positions only, bias and cap."""
    settings = head.settings
    if settings.transform is settings.narrow is settings.cap is None and settings.scale == 1.0:
        return label_logprobs(hidden_BTD, labels_BT, weight_VD, head.bias)
    kept_BT = labels_BT != IGNORED
    hidden_MD, labels_M = head.prepare(hidden_BTD[kept_BT]), labels_BT[kept_BT]
    nll_M = linear_cross_entropy(hidden_MD, weight_VD, labels_M, head.bias, settings.cap)
    return nll_M.new_zeros(labels_BT.shape).masked_scatter(kept_BT, -nll_M)
