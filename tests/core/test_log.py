"""The log is cut back to a position, and a torn last line is not read."""

from pathlib import Path

from nextword.core.log import StepLog, read


def test_cut_back_to_a_position(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with StepLog(path) as log:
        log.write({"step": 1, "loss": 2.5})
        position = log.position()
        log.write({"step": 2, "loss": float("nan")})
    assert read(path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": None}]
    with StepLog(path, position) as log:
        log.write({"step": 2, "loss": 2.25})
    assert read(path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]


def test_a_log_shorter_than_the_position_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n')
    with StepLog(path, 1000) as log:
        log.write({"step": 2})
    assert read(path) == [{"step": 1}, {"step": 2}]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    assert read(path) == [{"step": 1}]
    assert read(tmp_path / "none") == []
