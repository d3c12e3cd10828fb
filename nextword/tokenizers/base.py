"""Text to numbers and back: one class for every kind of tokenizer.

A tokenizer cuts a text into tokens and numbers them. It wraps a `tokenizers.Tokenizer`, so that all kinds share one
file format and one behaviour; what a kind promises of decode(encode(text)) is in `lossless`. Text is text: a document
that contains the characters "<|endoftext|>" is encoded letter by letter, and only nextword itself puts the control
token between documents.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from nextword.core.errors import DataError
from nextword.core.files import fingerprint
from nextword.tokenizers import files
from nextword.tokenizers.bytelevel import to_bytes
from nextword.tokenizers.dialogue import read_ends, read_template, write_dialogue
from nextword.tokenizers.gigatoken import Encode, same_encoder
from nextword.tokenizers.stream import ByteStream, StreamDecoder, WindowStream

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # how SentencePiece writes a byte that has no piece


class Tokenizer:
    """A trained tokenizer.

    inner: the tokenizer of the `tokenizers` library. kind: "bpe", "wordpiece", ... bos_id, eos_id, pad_id, unk_id: the
    ids of the control tokens, None where there is none; cls_id, sep_id, mask_id: those of BERT, whose texts begin with
    cls and end with sep. lossless: decode(encode(text)) == text for every text. begins, ends: what its folder says
    that its model's texts begin and end with; `framed` puts them there. template: the source of its chat template, if
    there is one (`tokenizers/conversations.py`). stops: all ids that end a generated text: eos, and what ends a turn.
    """

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        kind: str,
        lossless: bool,
        roles: Mapping[str, int | None],
        frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
        template: str | None = None,
        stops: Iterable[int] = (),
    ) -> None:
        self.inner, self.kind, self.lossless = inner, kind, lossless
        self.inner.encode_special_tokens = True  # control tokens in a text are text
        self.begins, self.ends = frame
        self.pad_id, self.unk_id, self.mask_id = roles.get("pad"), roles.get("unk"), roles.get("mask")
        self.cls_id, self.sep_id = roles.get("cls"), roles.get("sep")
        bos, eos = roles.get("bos"), roles.get("eos")
        self.bos_id, self.eos_id = self.cls_id if bos is None else bos, self.sep_id if eos is None else eos
        self.template = template
        self.stops = frozenset(stops) | (frozenset() if self.eos_id is None else {self.eos_id})

    @classmethod
    def load(cls, folder: Path | str) -> "Tokenizer":
        """The tokenizer in a folder, ours or any model's: tokenizer.json, or the files that were before it."""
        found = files.read(Path(folder))
        template, stops = read_template(Path(folder)), read_ends(Path(folder), found.inner)
        return cls(found.inner, found.kind, found.lossless, found.roles, (found.begins, found.ends), template, stops)

    def save(self, folder: Path | str) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which Hugging Face's AutoTokenizer opens.

        Beside them the chat template, and the tokens that end a text where there are several.
        """
        ids = {"bos": self.bos_id, "eos": self.eos_id, "pad": self.pad_id, "unk": self.unk_id}
        ids |= {"cls": self.cls_id, "sep": self.sep_id, "mask": self.mask_id}
        roles = {role: None if number is None else self.token(number) for role, number in ids.items()}
        ours = {"kind": self.kind, "lossless": "any text" if self.lossless else "no"}
        sides = {"bos": (self.begins, self.bos_id), "eos": (self.ends, self.eos_id)}
        added = {f"add_{side}_token": True for side, (given, number) in sides.items() if given and given == (number,)}
        files.write(Path(folder), self.inner, roles, ours, added)
        write_dialogue(Path(folder), self.template, self.stops, self.eos_id)

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self.inner.get_vocab().values())

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of everything that decides the ids: equal fingerprints encode alike."""
        return fingerprint([self.inner.to_str(), self.bos_id, self.eos_id])

    @cached_property
    def specials(self) -> frozenset[int]:
        """The ids of control tokens, which `decode` leaves out; what was unknown stays visible."""
        added = self.inner.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special and number != self.unk_id)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The content of tokenizer.json but for the vocabulary, and the merges only counted: which steps are taken."""
        tree: dict[str, Any] = json.loads(self.inner.to_str())
        merges = len(tree["model"].get("merges", ()))
        tree["model"] = {key: value for key, value in tree["model"].items() if key != "vocab"} | {"merges": merges}
        return tree

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; nothing is added at its ends. DataError for text that is not valid Unicode."""
        try:
            ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        except TypeError:
            check_unicode(text)
            raise
        return ids

    def framed_spans(
        self, first: str, second: str | None = None
    ) -> tuple[list[int], list[int], list[tuple[int | None, int, int]]]:
        """One or two texts with the control tokens that an encoder reads around them: ids, token types, and spans.

        A span is (0 or 1: in which text, from which character, to before which); (None, 0, 0) for a control token. The
        file's own template decides what stands around; without one it is cls first sep second sep.
        """
        if self.inner.num_special_tokens_to_add(second is not None):
            found = self.inner.encode(first, second, add_special_tokens=True)
            sides = found.sequence_ids
            spans = [(s, *(span if s is not None else (0, 0))) for s, span in zip(sides, found.offsets, strict=True)]
            return found.ids, found.type_ids, spans
        ids, types, spans = [self.cls_id], [0], [(None, 0, 0)]
        for side, text in enumerate((first,) if second is None else (first, second)):
            found = self.inner.encode(text, add_special_tokens=False)
            ids += [*found.ids, self.sep_id]
            types += [side] * (len(found.ids) + 1)
            spans += [*((side, *span) for span in found.offsets), (None, 0, 0)]
        there = [place for place, number in enumerate(ids) if number is not None]
        return tuple([row[place] for place in there] for row in (ids, types, spans))  # type: ignore[return-value]

    @cached_property
    def faster(self) -> Encode | None:
        """What gives the same ids of batches many times faster; None unless gigatoken is installed and does."""
        return same_encoder(self.inner)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text; on several cores."""
        try:
            if self.faster is not None:
                return self.faster(list(texts))
            found = self.inner.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeError):
            for text in texts:
                check_unicode(text)
            raise
        return [encoding.ids for encoding in found]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """`ids` with what a text of this model begins and ends with; what is there already is not put there twice."""
        begins = () if tuple(ids[: len(self.begins)]) == self.begins else self.begins
        ends = () if self.ends and tuple(ids[-len(self.ends) :]) == self.ends else self.ends
        return [*begins, *ids, *ends]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; control tokens are left out, an incomplete character becomes U+FFFD."""
        if self.is_byte_level:
            return self.decode_bytes(ids).decode("utf-8", errors="replace")
        kept = [number for number in ids if number not in self.specials]
        text: str = self.inner.decode(kept, skip_special_tokens=False)
        return text

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids` one after the other (for byte-level kinds the exact bytes of the text)."""
        return b"".join([self.token_bytes(number) for number in ids if number not in self.specials])

    def decoder(self) -> StreamDecoder:
        """A decoder for ids that arrive one by one."""
        if self.is_byte_level:
            return ByteStream(lambda number: b"" if number in self.specials else self.token_bytes(number))
        return WindowStream(
            self.decode,
            waits=lambda number: self.byte_fallback and BYTE_TOKEN.fullmatch(self.token(number)) is not None,
            silent=lambda number: number in self.specials or not self.token(number),
        )

    def special_id(self, name: str) -> int | None:
        """The id of the special token of that name; None where there is none (or it is an ordinary one)."""
        number: int | None = self.inner.token_to_id(name)
        return number if number in self.specials else None

    def token(self, number: int) -> str:
        """The token as the vocabulary writes it ("Ġthe", "##ing", "▁the"); "" for an id without a token."""
        name: str | None = self.inner.id_to_token(number)
        return name or ""

    def token_bytes(self, number: int) -> bytes:
        """The bytes of text that the token stands for in the middle of a text (the name of a control token)."""
        return self._token_bytes(number)

    @cached_property
    def _token_bytes(self) -> Callable[[int], bytes]:
        """A function with a table behind it, since generation asks for the same few tokens again and again."""
        table: dict[int, bytes] = {}

        def find(number: int) -> bytes:
            if number not in table:
                table[number] = self._spell(number)
            return table[number]

        return find

    def _spell(self, number: int) -> bytes:
        name = self.token(number)
        if number in self.specials:
            return name.encode()
        if self.is_byte_level:
            end = self.spec["model"].get("end_of_word_suffix")  # CLIP's "cat</w>"
            return to_bytes(name.removesuffix(end)) + b" " if end and name.endswith(end) else to_bytes(name)
        single = BYTE_TOKEN.fullmatch(name) if self.byte_fallback else None
        if single:
            return bytes([int(single[1], 16)])
        prefix = self.spec["model"].get("continuing_subword_prefix") or ""
        if self.spec["model"]["type"] == "WordPiece" and prefix:
            name = name.removeprefix(prefix)
        if "▁" in str(self.spec["decoder"]):  # the metaspace of SentencePiece, in whatever decoder writes it back
            name = name.replace("▁", " ")
        return name.encode()

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether tokens are sequences of bytes written as GPT-2 writes them."""
        decoder: dict[str, Any] = self.spec["decoder"] or {}
        steps: list[dict[str, Any]] = decoder.get("decoders", [decoder])
        return [step.get("type") for step in steps] == ["ByteLevel"]

    @cached_property
    def byte_fallback(self) -> bool:
        """Whether a character without a piece becomes byte tokens such as <0xE2>."""
        return "ByteFallback" in str(self.spec["decoder"])


def check_unicode(text: str) -> None:
    """Raises DataError, naming the place, for a text that cannot be written as UTF-8."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        place = error.start
        raise DataError(
            f"the text is not valid Unicode: half of a surrogate pair (U+{ord(text[place]):04X}) at character {place}; "
            "mend it, for example with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
        ) from None
