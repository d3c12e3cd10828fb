"""How the processes of one attempt find each other in a store that remembers earlier attempts.

torchrun restarts all workers when one dies, but its key-value store lives on (PyTorch 2.13), and with it the addresses
of the dead. So process 0 draws a word that no attempt had before and tells it to the others; what all of them then
write and read carries it as a prefix. The others cannot know which word in the store is new: each asks under a name of
its own, and is answered under that name.
"""

import time
import uuid
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store

from nextword.core.errors import TrainingError

PAUSE_SECONDS = 0.01


def meet(store: Store, rank: int, size: int, patience: timedelta) -> PrefixStore:
    """The part of the store that belongs to this attempt; TrainingError when not all of `size` processes come."""
    mine = uuid.uuid4().hex
    deadline = time.monotonic() + patience.total_seconds()
    if rank:
        store.set(f"nextword/asks/{rank}", mine)
        store.wait([f"nextword/answer/{mine}"], patience)
        word = store.get(f"nextword/answer/{mine}").decode()
        store.set(f"nextword/{word}/{rank}", "here")
        return PrefixStore(f"nextword/{word}", store)
    waiting = set(range(1, size))
    answered: set[str] = set()
    while waiting:
        for other in sorted(waiting):
            if store.check([f"nextword/{mine}/{other}"]):
                waiting.discard(other)
            elif store.check([f"nextword/asks/{other}"]):
                name = store.get(f"nextword/asks/{other}").decode()  # perhaps that of a dead process, then it changes
                if name not in answered:
                    store.set(f"nextword/answer/{name}", mine)
                    answered.add(name)
        if time.monotonic() > deadline:
            raise TrainingError(f"{len(waiting)} of {size} processes did not come: see what they say, and start again")
        time.sleep(PAUSE_SECONDS)
    return PrefixStore(f"nextword/{mine}", store)
