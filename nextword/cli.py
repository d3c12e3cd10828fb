"""The command line: a verb names a recipe, the recipe's settings dataclass is its flags and its help.

The table below is static so that `nextword --help` imports nothing heavy. A verb's help imports its settings (no
torch); the recipe itself, named `"module:function"` by the settings class, is imported only when it runs.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Annotated, Any

from nextword.core.errors import Elsewhere, NextwordError, SettingsError, nearest
from nextword.core.settings import section_types

# In the order of a language model's life: verb, its settings class, what it does.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("nextword.recipes.run_settings:RunSettings", "the whole life in one command: text to evaluated model"),
    "tokenizer train": ("nextword.recipes.tokenizer_settings:TrainTokenizer", "learn a vocabulary from text"),
    "tokenizer show": ("nextword.recipes.tokenizer_settings:ShowTokenizer", "see the tokens of a text, in colour"),
    "tokenize": ("nextword.recipes.tokenize_settings:TokenizeSettings", "text to memory-mapped token shards"),
    "pretrain": ("nextword.recipes.pretrain_settings:PretrainSettings", "train a model on tokens"),
    "tune": ("nextword.recipes.tune_settings:TuneSettings", "find a good learning rate, batch or width by short runs"),
    "evaluate": ("nextword.recipes.evaluate_settings:EvaluateSettings", "perplexity and bits per byte on text"),
    "verify": (
        "nextword.recipes.verify_settings:VerifySettings",
        "cached = uncached, saved = loaded, ... on your model",
    ),
    "generate": ("nextword.recipes.generate_settings:GenerateSettings", "continue a prompt, as a stream"),
    "serve": ("nextword.recipes.serve_settings:ServeSettings", "a model for many users at once, as OpenAI's interface"),
    "cluster": ("nextword.recipes.cluster_settings:ClusterSettings", "group texts by what they say"),
    "chat": ("nextword.recipes.chat_settings:ChatSettings", "talk with a model in the terminal"),
    "inspect": ("nextword.recipes.inspect_settings:InspectSettings", "parameters, FLOPs and bytes of a model"),
    "convert": ("nextword.recipes.convert_settings:ConvertSettings", "a model to GGUF, from GGUF, or to other numbers"),
    "quantize": ("nextword.recipes.quantize_settings:QuantizeSettings", "a model's weights in 8 or 4 bits"),
    "recipes list": ("nextword.recipes.recipes_settings:ListRecipes", "the recipes that are shipped"),
    "recipes init": ("nextword.recipes.recipes_settings:InitRecipe", "copy a shipped recipe to change it"),
    "doctor": ("nextword.recipes.doctor_settings:DoctorSettings", "what this machine has, lacks, and how to mend it"),
}

INTERRUPTED = 130  # the exit status shells give a process that Ctrl-C ended


def top_help() -> str:
    """The text of `nextword --help`."""
    width = max(map(len, VERBS)) + 2
    lines = [f"  {verb:<{width}}{summary}" for verb, (_, summary) in VERBS.items()]
    return "\n".join(
        [
            "nextword: the whole life of a language model, from raw text to generated text",
            "",
            "usage: nextword VERB [ARGUMENTS] [--section.key=value ...]",
            "",
            *lines,
            "",
            "  nextword VERB --help shows a verb's settings with examples; nextword --version the version.",
            "",
            "first steps:",
            "  nextword run recipes/demo.toml                          train, evaluate and sample a small model",
            "  nextword run recipes/demo.toml --text my.txt --out mine  the same on your own text",
            '  nextword generate mine/model "Once upon a time"         continue a prompt with it',
        ]
    )


def load(reference: str) -> Any:
    """The object named by `"module:attribute"`."""
    module, attribute = reference.split(":")
    return getattr(import_module(module), attribute)


def find_verb(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb (one or two words) at the start of the arguments, and what follows it."""
    for words in (2, 1):
        verb = " ".join(arguments[:words])
        if len(arguments) >= words and verb in VERBS:
            return verb, list(arguments[words:])
    first = arguments[0]
    inner = [verb.split()[1] for verb in VERBS if verb.startswith(first + " ")]
    if inner:
        if len(arguments) > 1 and not arguments[1].startswith("-"):
            raise SettingsError(f"no verb {first + ' ' + arguments[1]!r}{nearest(arguments[1], inner)}")
        raise SettingsError(
            f"{first!r} needs a second word: {' or '.join(f'nextword {first} {word}' for word in inner)}"
        )
    raise SettingsError(f"no verb {first!r}{nearest(first, VERBS)}")


def spell_out(settings: type, arguments: Sequence[str]) -> list[str]:
    """The arguments with `--text FILE` written `--text.sources FILE`.

    A section whose class names a field as its `MAIN` may be given by its own name; cyclopts would read JSON there.
    """
    sections = section_types(settings).items()
    main_of = {f"--{name}": f"--{name}.{cls.__dict__['MAIN']}" for name, cls in sections if "MAIN" in cls.__dict__}
    pairs = (argument.partition("=") for argument in arguments)
    return [main_of.get(flag, flag) + equals + value for flag, equals, value in pairs]


def parse(verb: str, arguments: Sequence[str]) -> Any | None:
    """The settings that the arguments of `verb` give; None when help was asked for and shown.

    A settings class with a class method `base` gets the arguments first and returns the tree that they change (a
    recipe file) and that tree's name.
    """
    import cyclopts  # noqa: PLC0415 - 0.1 s that the top-level help need not pay

    settings = load(VERBS[verb][0])
    config = []
    if "base" in vars(settings) and not {"--help", "-h"} & set(arguments):
        tree, where = settings.base(arguments)
        config = [cyclopts.config.Dict(tree, source=where, use_commands_as_keys=False)]
    app = cyclopts.App(
        name=f"nextword {verb}",
        help=settings.__doc__,
        help_format="plaintext",
        help_epilogue="Examples:\n" + settings.EXAMPLES,
        version_flags=[],
        config=config,
        default_parameter=cyclopts.Parameter(negative_iterable=(), consume_multiple=True),
    )

    def receive(given: Any) -> Any:
        return given

    if all(field.default is not MISSING or field.default_factory is not MISSING for field in fields(settings)):
        receive.__defaults__ = (settings(),)  # nothing is required: no argument at all is fine
    receive.__annotations__["given"] = Annotated[settings, cyclopts.Parameter(name="*")]
    app.default(receive)
    try:
        return app(spell_out(settings, arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        raise SettingsError(f"{str(error).strip().rstrip('.')}; see `nextword {verb} --help`") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0, or the error's exit code, or 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(dispatch(arguments))
    except Elsewhere as error:
        sys.exit(error.exit_code)
    except NextwordError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone (nextword ... | head): nobody to tell, nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def dispatch(arguments: Sequence[str]) -> int:
    """Runs the verb that the arguments name; the exit status."""
    if not arguments or arguments[0] in {"--help", "-h", "help"}:
        print(top_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version  # noqa: PLC0415

        print(version("nextword"))
        return 0
    verb, rest = find_verb(arguments)
    settings = parse(verb, rest)
    if settings is None:
        return 0
    return int(load(settings.RECIPE)(settings) or 0)


if __name__ == "__main__":
    main()
