"""Bytes written as visible characters, as GPT-2 does it.

A byte-level vocabulary must hold all 256 bytes in a JSON file of text. Bytes that print in Latin-1 stand for
themselves; the other 68 are shifted to the characters from U+0100 on, so that a space is written `Ġ` and a newline `Ċ`.

Radford et al., Language Models are Unsupervised Multitask Learners, 2019 (`bytes_to_unicode` of its released encoder).
"""

VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
HIDDEN = sorted(set(range(256)) - set(VISIBLE))
CHARACTER_OF = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(256 + rank) for rank, byte in enumerate(HIDDEN)}
BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}


def to_bytes(token: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary stands for; a token with other characters is plain text.

    >>> to_bytes("Ġthe"), to_bytes("Ã©").decode()
    (b' the', 'é')
    """
    if all(character in BYTE_OF for character in token):
        return bytes(BYTE_OF[character] for character in token)
    return token.encode()
