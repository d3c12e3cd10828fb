"""BART: the first transformer's shape, trained to write a text whose words were masked, cut and moved.

Lewis et al., "BART: Denoising Sequence-to-Sequence Pre-training" (2020). The norm behind each part and behind the
embedding, learned positions and GELU; see `nextword.models.bart_like`.
"""

from nextword.models.bart_like import Kin, family

FAMILY = family(Kin("BartForConditionalGeneration", "BartModel", False, True, "gelu"), "bart")
