"""A language model as one holds it in the hand: load it, and ask it things.

>>> import nextword as nw                                          # doctest: +SKIP
>>> lm = nw.load("runs/demo/model")                                # doctest: +SKIP
>>> lm.generate("Once upon a time", max_tokens=20, seed=1)         # doctest: +SKIP
' there was a small town ...'
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from nextword.assembly import folder
from nextword.assembly.sentence import Sentence, write_sentence
from nextword.core.errors import SettingsError
from nextword.core.records import Document, Message
from nextword.core.settings import build, in_range
from nextword.decode.settings import SamplingSettings
from nextword.decode.settings_by_name import by_name
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine import tasks, vectors
from nextword.engine.conversation import Talk
from nextword.engine.draft import check_asked, check_vocabulary, with_draft
from nextword.engine.fill import Filled, fill
from nextword.engine.generate import NO_TOOLS, generate, needs_plain, steps_for, stream
from nextword.engine.request import Generation, Request, ask_all
from nextword.engine.step import Compiled, PlainSteps, Stepper
from nextword.evals import perplexity
from nextword.evals.scored import ScoredToken, scored
from nextword.evals.settings import EvaluateSection
from nextword.evals.windows import texts_of_documents
from nextword.models.family import Storable, note_of
from nextword.models.settings import ModelSettings
from nextword.quant import files
from nextword.recipes.pretrain import pretrain_tokens
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.conversations import Chat
from nextword.train.folder import Summary
from nextword.train.settings import TrainSettings

SAMPLE = StrategySettings()


@dataclass(frozen=True)
class Continuation:
    """log p of a continuation given its prompt: of each token, their sum, and their mean (nats).

    The sum is the probability of the text as it stands; longer texts have smaller ones. The mean takes the length out:
    to rank candidates of different lengths look at both.
    """

    tokens: tuple[ScoredToken, ...]
    sum: float
    mean: float


class LM:
    """A model with its tokenizer: `nextword.load` makes one."""

    def __init__(
        self, model: Storable, tokenizer: Tokenizer, sentence: Sentence | None = None, template: Chat | None = None
    ) -> None:
        self.model, self.tokenizer, self.sentence, self.template = model, tokenizer, sentence, template
        self._plan: tuple[Stepper, list[tuple[int, int]]] | None = None  # a compiled plan and the weights it is made of

    def __repr__(self) -> str:
        kind = self.model.config.get("model_type")
        return f"LM({kind}, vocabulary of {self.model.vocab_size}, max_length {self.model.max_length})"

    @overload
    def generate(  # a string is a sequence of strings, too, and comes first
        self, prompt: str, *, draft: "LM | None" = ..., tools: Tools = ..., compiled: Compiled = ..., **settings: Any
    ) -> str: ...
    @overload
    def generate(
        self,
        prompt: Sequence[str],
        *,
        draft: "LM | None" = ...,
        tools: Tools = ...,
        compiled: Compiled = ...,
        **settings: Any,
    ) -> list[str]: ...

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        draft: "LM | None" = None,
        tools: Tools = NO_TOOLS,
        compiled: Compiled = "auto",
        **settings: Any,
    ) -> str | list[str]:
        """The text that follows the prompt; a list of texts for a list of prompts, which are continued together.

        An encoder-decoder reads the prompt as its source and writes a text about it; an encoder fills max_tokens masks
        behind it. settings: those of `SamplingSettings` and `StrategySettings` by name, such as max_tokens,
        temperature, top_k, top_p, seed, stop, strategy and beams; one that is unknown, or would have no effect, is an
        error. draft: a small model of the same vocabulary, for strategy="speculative". tools: a judge of texts
        (`score`), a list that gets what was considered (`trace`).

        The same seed gives a prompt the same text, alone or in a list (where a prompt is repeated, its second text is
        that of seed + 1, and so on).
        SettingsError for a prompt that leaves no room in the model's context.

        >>> lm.generate("The", max_tokens=5, temperature=0)              # doctest: +SKIP
        ' town was founded in'
        >>> lm.generate("The", max_tokens=5, strategy="beam", beams=4)   # doctest: +SKIP
        ' town was founded by'
        """
        sampling, strategy = by_name(settings)
        found = self.continuations(_several(prompt), sampling, compiled, strategy, draft, tools)
        return found[0].text if isinstance(prompt, str) else [result.text for result in found]

    def continuations(
        self,
        prompts: Sequence[str],
        settings: SamplingSettings,
        compiled: Compiled = "auto",
        strategy: StrategySettings = SAMPLE,
        draft: "LM | None" = None,
        tools: Tools = NO_TOOLS,
    ) -> list[Generation]:
        """What `generate` gives, with tokens, log-probabilities, stop reason, seed, speed and, of beams, the n best."""
        requests = ask_all(self.model, self.tokenizer, prompts, settings, strategy)
        return generate(
            self.model, requests, self._steps(requests, compiled), self._tools(requests, draft, tools, compiled)
        )

    def stream(
        self,
        prompt: str,
        *,
        draft: "LM | None" = None,
        tools: Tools = NO_TOOLS,
        compiled: Compiled = "auto",
        **settings: Any,
    ) -> Iterator[str]:
        """The same text in pieces, as it is made; joined they are what `generate` gives. No character is ever split.

        A strategy that follows several texts (beams) has nothing to show before its end, when all comes at once.

        >>> for piece in lm.stream("The"):                               # doctest: +SKIP
        ...     print(piece, end="", flush=True)
        """
        requests = ask_all(self.model, self.tokenizer, [prompt], *by_name(settings))
        tools = self._tools(requests, draft, tools, compiled)
        with closing(stream(self.model, requests, [], self._steps(requests, compiled), tools)) as steps:
            for step in steps:
                if step.text:
                    yield step.text

    def chat(self, messages: str | Sequence[Mapping[str, str]], *, compiled: Compiled = "auto", **settings: Any) -> str:
        """The model's answer to a conversation, in the words of its own template.

        messages: a question, or {"role": "system", "user" or "assistant", "content": text} in turn. settings: as
        `generate`, of sampling. SettingsError for a model without a conversation template.

        >>> lm.chat([{"role": "user", "content": "What is a token?"}], max_tokens=50)   # doctest: +SKIP
        'A piece of text that a model reads as one.'
        """
        if self.template is None:
            raise SettingsError(
                "this model has no conversation template, so it was not trained to converse: use generate"
            )
        sampling, strategy = by_name(settings)
        if strategy != SAMPLE:
            raise SettingsError("a chat is sampled: settings of other strategies have no effect, leave them out")
        talk = Talk(self.model, self.template, sampling, compiled)
        given = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        talk.messages = [Message(message["role"], message["content"]) for message in given]
        return "".join(talk.answer())

    def score(self, text: str) -> list[ScoredToken]:
        """Every token of a text with its log-probability, given all that stands before it.

        A text longer than the model's context is read in windows that overlap by half.

        >>> [(token.text, round(token.logprob, 1)) for token in lm.score("It is.")]   # doctest: +SKIP
        [('It', -4.2), (' is', -1.3), ('.', -3.9)]
        """
        return scored(self.model, self.tokenizer, self.tokenizer.encode(text))

    def logprob(self, prompt: str, continuation: str) -> Continuation:
        """log p(continuation | prompt).

        Prompt and continuation are encoded as one text, as the model would have read it: "The cat" and " sat" share
        no token, but "The c" and "at" do in many vocabularies. A token that stands on both sides belongs to the
        continuation, because it is where the continuation begins to be said. SettingsError when nothing is left to
        score.

        >>> a = lm.logprob("I want a caramel", " iced latte")             # doctest: +SKIP
        >>> a.sum, a.mean                                                 # doctest: +SKIP
        (-11.4, -3.8)
        """
        whole = self.tokenizer.encode(prompt + continuation)
        alone = self.tokenizer.encode(prompt)
        shared = 0
        while shared < min(len(whole), len(alone)) and whole[shared] == alone[shared]:
            shared += 1
        tokens = tuple(scored(self.model, self.tokenizer, whole)[shared:])
        logprobs = [token.logprob for token in tokens if token.logprob is not None]
        if not logprobs:
            raise SettingsError("there is nothing to score: the continuation has no token with something before it")
        total = float(sum(logprobs))
        return Continuation(tokens, total, total / len(logprobs))

    def perplexity(self, texts: str | Sequence[str]) -> dict[str, Any]:
        """Perplexity over all texts, each scored alone: `perplexity` (per token), `perplexity_per_word`, `_per_byte`.

        Beside them `bits_per_byte`, `loss` and what was counted; `nextword.evals.perplexity` says how.

        >>> lm.perplexity(["A first text.", "A second."])["perplexity"]   # doctest: +SKIP
        41.7
        """
        documents = [Document(str(i), text, "texts") for i, text in enumerate(_several(texts))]
        settings = EvaluateSection()
        found = texts_of_documents(documents, self.tokenizer, settings.score_end)
        figures: dict[str, Any] = perplexity.perplexity(self.model, found, settings)["all"]
        return figures

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        pooling: str | None = None,
        normalise: bool | None = None,
        prompt: str | None = None,
        rows: int = 32,
    ) -> Tensor:
        """A vector for each text, (N, D) fp32 ((D) for a single one), out of its tokens' last hidden states.

        pooling: "mean" of all, "cls" (the first token of an encoder), "last", "max", or "own" (that of CLIP's head).
        normalise: to length 1, so that products are cosines. prompt: the name of what the folder puts before texts of
        a kind ("query"). rows: texts that are computed together. What is left out is as the folder says, if it is one
        of sentence-transformers (which also cuts long texts), else CLIP's own or the mean, not normalised.
        SettingsError for a text without tokens, or longer than the model's context; what does not fit the model.
        """
        found_ND = vectors.embed(
            self.model, self.tokenizer, _several(texts), self.sentence,
            pooling=pooling, normalise=normalise, prompt=prompt, rows=rows,
        )  # fmt: skip
        return found_ND[0] if isinstance(texts, str) else found_ND

    def states(self, text: str, *, length: int | None = None, layer: int | None = None) -> vectors.States:
        """Every token of a text with its last hidden state: `ids`, `tokens` and `vectors_TD` (T, D) fp32.

        length: the text cut, or padded, to so many tokens, padding read as if it were text: what image generators read.
        layer: the states behind so many layers, before the last norm; -2 is behind all but the last.

        >>> lm.states("The cat").vectors_TD.shape                          # doctest: +SKIP
        torch.Size([4, 256])
        """
        return vectors.states(self.model, self.tokenizer, text, length, layer)

    def fill(self, text: str, *, top: int = 5, max_tokens: int = 20) -> Filled:
        """What stands in the gaps of a text: [MASK] for an encoder or BART, <extra_id_0>, <extra_id_1> ... for a T5.

        Gives the filled text and for each gap its candidates: the `top` tokens of a mask with their probabilities, or
        what is generated for a sentinel, at most `max_tokens`. SettingsError for a decoder, a text without gaps, or a
        tokenizer without such marks.

        >>> filled = lm.fill("The [MASK] sat on the mat.")                 # doctest: +SKIP
        >>> filled.text                                                    # doctest: +SKIP
        'the cat sat on the mat.'
        >>> [(one.text, round(one.probability, 2)) for one in filled.gaps[0]]   # doctest: +SKIP
        [('cat', 0.61), ('dog', 0.22), ...]
        """
        return fill(self.model, self.tokenizer, text, top, max_tokens)

    @overload
    def classify(self, texts: str, second: str | None = ..., *, rows: int = ...) -> list[tasks.Label]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(
        self, texts: Sequence[str], second: Sequence[str] | None = ..., *, rows: int = ...
    ) -> list[list[tasks.Label]]: ...

    def classify(
        self, texts: str | Sequence[str], second: str | Sequence[str] | None = None, *, rows: int = 32
    ) -> list[tasks.Label] | list[list[tasks.Label]]:
        """All classes of a text with their scores and probabilities, the best first; a list of them for several texts.

        second: a second text (to each), for models that judge pairs. A regression has one score and no probability.
        SettingsError for a model without classes for texts.

        >>> lm.classify("What a lovely film.")[0]                          # doctest: +SKIP
        Label(label='POSITIVE', score=4.3, probability=0.9998)
        """
        seconds = None if second is None else _several(second)
        found = tasks.classify(self.model, self.tokenizer, _several(texts), seconds, rows)
        return found[0] if isinstance(texts, str) else found

    def tag(self, text: str, *, grouped: bool = True) -> list[tasks.Tag]:
        """The spans of a text that have a class, with label, probability and place; not `grouped`: every token.

        SettingsError for a model without classes for tokens.

        >>> [(one.text, one.label) for one in lm.tag("Ada Lovelace lived in London.")]   # doctest: +SKIP
        [('Ada Lovelace', 'PER'), ('London', 'LOC')]
        """
        return tasks.tag(self.model, self.tokenizer, text, grouped)

    def answer(self, question: str, context: str, *, max_tokens: int = 30) -> tasks.Answer:
        """The span of the context that answers the question best, of at most `max_tokens` tokens.

        A long context is read in windows. SettingsError for a model that finds no spans.

        >>> lm.answer("Where did she live?", "Ada lived in London.").text  # doctest: +SKIP
        'London'
        """
        in_range("max_tokens", max_tokens, 1)
        return tasks.answer(self.model, self.tokenizer, question, context, max_tokens)

    def save(self, path: str | Path) -> None:
        """Writes a Hugging Face folder: config.json, model.safetensors, and the tokenizer's files.

        Warns where other tools do not know the family and so cannot open the folder.
        """
        files.save(self.model, Path(path))
        if note := note_of(self.model.config):
            warnings.warn(note, stacklevel=2)
        self.tokenizer.save(Path(path))
        if self.sentence is not None:
            write_sentence(Path(path), self.sentence)

    def _steps(self, requests: Sequence[Request], compiled: Compiled) -> Stepper:
        """How to step the model; a compiled plan is kept as long as the weights are what they were."""
        weights = self.model.parameters() if isinstance(self.model, torch.nn.Module) else ()
        stamp = [(weight.data_ptr(), weight._version) for weight in weights]
        kept = None if compiled == "never" else self._plan
        if kept is not None and kept[1] == stamp and needs_plain(self.model, requests) is None:
            return kept[0]
        steps = steps_for(self.model, requests, compiled)
        if not isinstance(steps, PlainSteps):
            self._plan = steps, stamp
        return steps

    def _tools(self, requests: Sequence[Request], draft: "LM | None", tools: Tools, compiled: Compiled) -> Tools:
        """The tools with the draft; SettingsError where it does not share the vocabulary, or no request goes by it."""
        if draft is None:
            return tools
        check_asked(requests)
        check_vocabulary(self.tokenizer, draft.tokenizer)
        tokens = sum(request.limit(self.model.max_length) for request in requests)
        return with_draft(tools, self.model, draft.model, tokens, compiled)


def load(path_or_hub_id: str | Path, dtype: torch.dtype | None = None, device: str = "cpu") -> LM:
    """The model in a folder or a GGUF file, or of a Hugging Face id such as "Qwen/Qwen3-0.6B" (needs the `hub` extra).

    dtype: what to compute in; by default the stored type where the device is fast in it, and fp32 elsewhere. device:
    cpu, cuda, cuda:1, mps; auto: a GPU if there is one.
    CheckpointError when the folder is none, or incomplete, or corrupt.
    """
    assembled = folder.load(path_or_hub_id, dtype, device)
    template = Chat.found(assembled.folder, assembled.tokenizer)
    return LM(assembled.model, assembled.tokenizer, assembled.sentence, template)


def pretrain(
    tokens: str | Path,
    out: str | Path,
    *,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    init_from: str | None = None,
    quiet: bool = False,
) -> Summary:
    """Trains a model on a folder of tokens (`nextword tokenize`) into the folder `out`, or goes on where it stopped.

    model, train: the settings of `nextword pretrain` by name; what is left out is the default, what is unknown an
    error.

    >>> nw.pretrain("tokens", "runs/small", model={"width": 128}, train={"steps": 500})   # doctest: +SKIP
    >>> lm = nw.load("runs/small/model")                                                  # doctest: +SKIP
    """
    sizes = build(ModelSettings, model or {}, "model")
    return pretrain_tokens(
        tokens, sizes, build(TrainSettings, train or {}, "train"), out, init_from=init_from, quiet=quiet
    )


def _several(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)
