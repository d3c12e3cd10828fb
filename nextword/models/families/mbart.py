"""mBART: BART with the norm before each part, a last norm behind each half, and texts of many languages.

Liu et al., "Multilingual Denoising Pre-training for Neural Machine Translation" (2020). A text begins with the token of
its language; see `nextword.models.bart_like`.
"""

from nextword.models.bart_like import Kin, family

FAMILY = family(Kin("MBartForConditionalGeneration", "MBartModel", True, True, "gelu"), "mbart")
