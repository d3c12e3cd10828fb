"""The grid and the draw; as many tokens for every trial; heads that keep their width."""

import pytest

from nextword.core.errors import SettingsError
from nextword.models.settings import ModelSettings
from nextword.recipes import trials
from nextword.recipes.trials import Choice
from nextword.recipes.tune_settings import TuneSection
from nextword.train.settings import TrainSettings

RATES = (1e-4, 1e-3, 1e-2)


def test_the_grid_has_every_combination_by_width() -> None:
    found = trials.choices(TuneSection(learning_rates=RATES, batches=(4, 8), widths=(64, 128)), TrainSettings())
    assert list(found) == [64, 128]
    expected = [(rate, batch) for batch in (4, 8) for rate in RATES]
    assert all([(one.learning_rate, one.batch) for one in group] == expected for group in found.values())
    assert trials.choices(TuneSection(), TrainSettings(batch=7))[None][0] == Choice(3e-4, 7, None)


def test_a_draw_is_within_the_range_seeded_and_never_twice_the_same() -> None:
    tune = TuneSection(learning_rates=RATES, batches=(4, 8, 16, 32), widths=(64, 128), trials=20)
    found = trials.choices(tune, TrainSettings(seed=1))
    assert found == trials.choices(tune, TrainSettings(seed=1)) != trials.choices(tune, TrainSettings(seed=2))
    every = [one for group in found.values() for one in group]
    assert len({one.name for one in every}) == 20 and {len(group) for group in found.values()} == {10}
    assert all(1e-4 <= one.learning_rate <= 1e-2 and one.batch in {4, 8, 16, 32} for one in every)
    low = sum(one.learning_rate < 1e-3 for one in every)  # log-uniform: half of them, not a tenth
    assert 5 <= low <= 15
    assert not {one.learning_rate for one in every} <= set(RATES)


def test_few_choices_are_drawn_without_end() -> None:
    tune = TuneSection(learning_rates=(1e-3,), batches=(1, 2, 3, 4), trials=3)
    assert len({one.batch for one in trials.choices(tune, TrainSettings())[None]}) == 3


@pytest.mark.parametrize(
    ("batch", "steps", "warmup", "look"), [(16, 300, 30, 60), (8, 600, 60, 120), (48, 100, 10, 20)]
)
def test_every_batch_reads_as_many_tokens(batch: int, steps: int, warmup: int, look: int) -> None:
    train = TrainSettings(steps=300, batch=16, eval_every=60, batch_warmup=12, micro_batch=16)
    found = trials.train_for(Choice(0.01, batch, None), train)
    assert found.batch * found.steps == train.batch * train.steps
    assert (found.steps, found.warm_steps, found.eval_every, found.learning_rate) == (steps, warmup, look, 0.01)
    assert found.batch * found.batch_warmup == train.batch * train.batch_warmup and found.length_warmup == 0
    assert found.micro_batch == min(16, batch)


def test_a_batch_that_does_not_divide_misses_by_less_than_a_step() -> None:
    train = TrainSettings(steps=100, batch=16)
    for batch in (3, 7, 100, 5000):
        found = trials.train_for(Choice(0.01, batch, None), train)
        assert abs(found.batch * found.steps - 1600) <= max(batch / 2, batch - 1600)


@pytest.mark.parametrize(
    ("model", "width", "expected"),
    [
        ({}, 128, {"heads": 2}),
        ({"width": 64, "heads": 4}, 128, {"heads": 8}),
        ({"head_width": 16}, 64, {"heads": 4}),
        (
            {"width": 64, "heads": 4, "kv_heads": 2, "ffn_width": 192},
            128,
            {"heads": 8, "kv_heads": 4, "ffn_width": 384},
        ),
        ({"family": "gpt2", "width": 64, "heads": 2}, 96, {"heads": 3}),
        ({"family": "lstm"}, 100, {}),
    ],
)
def test_heads_keep_their_width(model: dict, width: int, expected: dict) -> None:
    found = trials.model_for(Choice(0.01, 8, width), ModelSettings(**model))
    assert found == ModelSettings(**{**model, "width": width, **expected})


@pytest.mark.parametrize(
    ("model", "width", "message"),
    [
        ({}, 96, "tune.widths: 96 is no multiple of 64"),
        ({"heads": 4}, 64, "say with --model.width"),
        ({"width": 64, "heads": 2, "kv_heads": 1}, 96, "model.kv_heads: 1 times 96 / 64"),
    ],
)
def test_widths_that_the_heads_do_not_divide(model: dict, width: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        trials.model_for(Choice(0.01, 8, width), ModelSettings(**model))


def test_a_draw_needs_as_many_trials_for_each_width() -> None:
    with pytest.raises(SettingsError, match="tune.trials 5 is no multiple of 2"):
        trials.choices(TuneSection(widths=(64, 128), trials=5), TrainSettings())
