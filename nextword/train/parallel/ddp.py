"""Data parallelism: every process has the whole model and a part of each batch; gradients are summed over all.

The gradient of a sum is the sum of gradients, so the only thing to exchange is the gradient, once a step: each process
then makes the same update and all models stay equal. Gradients lie in flat buckets of some megabytes, in the order in
which the backward pass finishes them (from the last layer to the first); a full bucket travels while the layers before
it are still being computed. Of several micro-batches only the last one's backward pass sends anything (Li et al.,
"PyTorch Distributed: Experiences on Accelerating Data Parallel Training", 2020).

Left out on purpose: PyTorch's own DistributedDataParallel wants one `forward`, averages where sums are needed, and
imports its compiler, three seconds at every start.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nextword.core.distributed import World, losing
from nextword.train.parallel.share import chunk
from nextword.train.precision import Weights

BUCKET_BYTES = 25 << 20  # as PyTorch's: large enough for full speed, small enough to be sent early


class Bucket:
    """Gradients of some masters, side by side; in the last bucket also a flag for each master that has one."""

    def __init__(self, masters: dict[str, Tensor], flags: int = 0) -> None:
        self.names = list(masters)
        first = next(iter(masters.values()))
        sizes = [tensor.numel() for tensor in masters.values()]
        self.flat = torch.zeros(sum(sizes) + flags, device=first.device)
        pieces = self.flat.split([*sizes, flags])
        self.views = {name: view.view_as(masters[name]) for name, view in zip(masters, pieces, strict=False)}
        self.flags = pieces[-1]
        self.left = 0


class Replicated(Weights):
    """Weights of which every process has a copy."""

    def __init__(self, model: nn.Module, precision: str, world: World, together: nn.Module | None = None) -> None:
        self.world = world
        super().__init__(model, precision, together)
        with losing(), torch.no_grad():
            for tensor in (*self.masters.values(), *self.together.state_dict().values()):
                dist.broadcast(tensor, 0)
        self.order = list(reversed(self.masters))
        self.buckets = make_buckets({name: self.masters[name] for name in self.order})
        self.bucket_of = {name: bucket for bucket in self.buckets for name in bucket.names}
        self.ready: set[str] = set()  # masters with a gradient of this process
        self.under_way: list[dist.Work] = []
        self.last = False
        for name, tensor in self.parameters.items():
            tensor.register_post_accumulate_grad_hook(self.hook(name))
        self.forget()

    def hook(self, name: str) -> Callable[[Tensor], None]:
        """What happens when the backward pass has added to a weight's gradient."""

        def arrived(tensor: Tensor) -> None:
            if self.low:
                self.masters[name].grad += tensor.grad
                tensor.grad = None
            self.ready.add(name)
            if self.last:
                self.bucket_of[name].left -= 1
                self.send()

        return arrived

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """As Weights'; with the batch's last part, gradients are summed over the processes."""
        self.last = last
        for bucket in self.buckets:
            bucket.left = len(bucket.names)
        (loss * self.scale if self.scaling else loss).backward()
        if not last:
            return
        for bucket in self.buckets:
            bucket.left = 0
        self.send()
        with losing():
            for work in self.under_way:
                work.wait()
        self.under_way.clear()
        for name, count in zip(self.order, self.buckets[-1].flags.tolist(), strict=True):
            if not count:  # no process has one: it must not look like a gradient of 0, which would let weights decay
                self.masters[name].grad = None

    def send(self) -> None:
        """Sends the buckets that are complete, in the same order on every process."""
        while len(self.under_way) < len(self.buckets) and self.buckets[len(self.under_way)].left == 0:
            bucket = self.buckets[len(self.under_way)]
            if bucket is self.buckets[-1]:
                bucket.flags.copy_(torch.tensor([float(name in self.ready) for name in self.order]))
            with losing():
                self.under_way.append(dist.all_reduce(bucket.flat, async_op=True))

    def forget(self) -> None:
        """Empties the gradients, which stay where they are."""
        for bucket in self.buckets:
            bucket.flat.zero_()
            for name, view in bucket.views.items():
                self.masters[name].grad = view
        self.ready.clear()

    @torch.no_grad()
    def publish(self) -> None:
        """As Weights'."""
        super().publish()
        self.forget()

    def written(self, tensor: Tensor) -> Tensor | None:
        """All processes have the same: each writes a part of the rows."""
        if not tensor.ndim:
            return tensor if self.world.first else None
        return tensor[chunk(tensor.shape[0], self.world.rank, self.world.size)]


def make_buckets(masters: dict[str, Tensor]) -> list[Bucket]:
    """The masters in their order, a bucket for every BUCKET_BYTES."""
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in masters.items():
        if groups[-1] and size + tensor.nbytes > BUCKET_BYTES:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += tensor.nbytes
    return [*map(Bucket, groups[:-1]), Bucket(groups[-1], len(masters))]
