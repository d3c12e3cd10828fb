"""schemathesis: whatever the interface's own description allows, and much that it does not, gets no server error."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest


@pytest.mark.parametrize("examples", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_no_request_makes_a_server_error(talking: Path, serve: Any, examples: int) -> None:
    import schemathesis
    from schemathesis.checks import not_a_server_error

    from nextword.serve.settings import LimitSettings

    calm = hypothesis.settings(max_examples=examples, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    with serve(talking, limits=LimitSettings(tokens=2)) as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        count = 0
        for found in schema.get_all_operations():
            operation = found.ok()

            @calm
            @hypothesis.given(case=operation.as_strategy())
            def check(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(checks=[not_a_server_error])

            check()
        assert count > 50
