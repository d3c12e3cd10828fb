"""The legend of the letters that end a tensor's name where tensors meet mathematics.

`q_BHTE` is a tensor of shape (batch, heads, query time, head width).

| letter | size | letter | size |
|---|---|---|---|
| B | batch: rows that are computed together | E | head width |
| T | query time: positions that are computed now | F | feed-forward width |
| S | key time: positions that can be attended to | V | vocabulary |
| D | width of the residual stream (d_model) | L | layers |
| H | query heads | X | experts |
| K | key-value heads | N | any flat list of positions (rows of B x T that matter) |
"""
