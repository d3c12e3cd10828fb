"""As many threads for Numba's kernels as PyTorch has, and no more for PyTorch than before.

Both count threads in the same OpenMP, and when Numba starts its own for the first time in a thread it sets that count
to all cores: where the user asked for one, it would be all of them from then on, in products as in kernels.
"""

import numba
import torch


def follow_torch() -> None:
    """To be called before a kernel that runs in parallel."""
    count = torch.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
