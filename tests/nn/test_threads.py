"""Kernels run on as many threads as PyTorch was given, which stays so."""

import os
import subprocess
import sys

SCRIPT = """
import numba, torch
from nextword.nn.kernels.threads import follow_torch
torch.set_num_threads(1)
for _ in range(2):
    follow_torch()
    print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_the_first_kernel_does_not_take_all_cores() -> None:
    """In a process of its own, since Numba starts its threads once."""
    command, many = [sys.executable, "-c", SCRIPT], {**os.environ, "NUMBA_NUM_THREADS": "4"}
    assert subprocess.run(command, env=many, capture_output=True, text=True, check=True).stdout == "1 1\n1 1\n"
