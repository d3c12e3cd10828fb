"""XLM-RoBERTa: RoBERTa with one vocabulary for a hundred languages, and otherwise the same.

Conneau et al., "Unsupervised Cross-lingual Representation Learning at Scale" (2020). Read and written as transformers'
`XLMRobertaForMaskedLM` and its classes for other tasks do.
"""

from nextword.models.families.roberta import family

FAMILY = family("XLMRoberta", "xlm-roberta")
