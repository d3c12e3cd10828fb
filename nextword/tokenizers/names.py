"""The names of special tokens."""

END = "<|endoftext|>"  # ends every document, and stands before a text whose first token is to be scored
UNKNOWN = "<unk>"  # what a closed vocabulary has not seen
FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
SENTINEL = "<extra_id_{}>"  # T5's
SENTINELS = 100
