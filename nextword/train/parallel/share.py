"""Who gets what of something that is counted: rows of a batch, rows of a matrix."""


def chunk(count: int, rank: int, size: int) -> slice:
    """Rows of a matrix in equal chunks, the last ones smaller or empty: as PyTorch shards a tensor.

    >>> [chunk(5, rank, 4) for rank in range(4)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None), slice(5, 5, None)]
    """
    each = -(-count // size)
    return slice(min(rank * each, count), min((rank + 1) * each, count))


def even(count: int, rank: int, size: int) -> slice:
    """Rows of a batch as evenly as can be: no two processes differ by more than one.

    >>> [even(5, rank, 4) for rank in range(4)]
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None), slice(3, 5, None)]
    """
    return slice(count * rank // size, count * (rank + 1) // size)
