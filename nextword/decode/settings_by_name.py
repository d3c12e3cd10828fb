"""Settings of sampling and of strategies, given together by their names, as a call or a request body has them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nextword.core.errors import SettingsError, nearest
from nextword.core.settings import build
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy_settings import StrategySettings


def by_name(given: Mapping[str, Any]) -> tuple[SamplingSettings, StrategySettings]:
    """How a token is drawn, and how texts are searched for; `stop` may be one text.

    SettingsError, with the nearest name, for a setting that is neither's, and for a value that it cannot have.

    >>> sampling, strategy = by_name({"temperature": 0, "stop": "END", "strategy": "beam"})
    >>> sampling.stop, strategy.strategy
    (('END',), 'beam')
    """
    of_strategy = {field.name for field in fields(StrategySettings)}
    known = of_strategy | {field.name for field in fields(SamplingSettings)}
    for name in given.keys() - known:
        raise SettingsError(f"unknown setting {name!r}{nearest(name, known)}")
    parts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, value in given.items():
        parts[name in of_strategy][name] = (value,) if name == "stop" and isinstance(value, str) else value
    return build(SamplingSettings, parts[0]), build(StrategySettings, parts[1])
