#!/usr/bin/env python3
"""Seconds of torch's operations of a decoder, forward and backward together.

Two shapes: the organism (16 sequences of 96) and Qwen2.5-0.5B's (one of 512).
Each operation is repeated for `--seconds`; medians are given. What is measured:
- `rms_norm`, `rope`, `attention` (causal, grouped queries), `swiglu`
  (silu(gate) * up), all without their projections;
- `head`: hidden x weight, cross-entropy, gradients of both (of the hidden
  states alone in the big shape, where the head is frozen), all rows;
- `adamw`: one fused step over as many values as the shape trains.
"""

import argparse
import statistics
import time

import loops
import common_peer
import torch
from torch.nn import functional as F

SHAPES = {
    "organism": dict(rows=16, length=96, width=128, heads=4, kv_heads=2, size=32, inner=352, vocab=188,
                     trained=762_496, head_trained=True),
    "qwen2.5-0.5b": dict(rows=1, length=512, width=896, heads=14, kv_heads=2, size=64, inner=4864, vocab=151_936,
                         trained=4_325_376, head_trained=False),
}


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def operations(s):
    """Name -> (inputs that take a gradient, function)."""
    def values(*shape):
        return torch.randn(*shape, requires_grad=True)

    rows, length, width = s["rows"], s["length"], s["width"]
    angles = torch.outer(torch.arange(length).float(), 1e4 ** (-torch.arange(0, s["size"], 2) / s["size"])).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()
    x, scale = values(rows, length, width), values(width)
    q, k, v = (values(rows, heads, length, s["size"]) for heads in (s["heads"], s["kv_heads"], s["kv_heads"]))
    group = s["heads"] // s["kv_heads"]
    gate, up = values(rows, length, s["inner"]), values(rows, length, s["inner"])
    weight = torch.randn(s["vocab"], width, requires_grad=s["head_trained"])
    targets = torch.randint(0, s["vocab"], (rows * length,))

    def attention():
        wide = (t.repeat_interleave(group, 1) for t in (k, v))
        return F.scaled_dot_product_attention(q, *wide, is_causal=True)

    return {
        "rms_norm": ([x, scale], lambda: F.rms_norm(x, (width,), scale, 1e-5)),
        "rope": ([q], lambda: rotated(q, cos, sin)),
        "attention": ([q, k, v], attention),
        "swiglu": ([gate, up], lambda: F.silu(gate) * up),
        "head": ([x, weight] if s["head_trained"] else [x],
                 lambda: F.cross_entropy(F.linear(x, weight).flatten(0, 1), targets)),
    }


def median_seconds(call, budget):
    call()
    taken, began = [], time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - began < budget:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each operation and shape")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    found = {}
    for name in options.shapes.split(","):
        shape, table = SHAPES[name], {}
        for operation, (inputs, forward) in operations(shape).items():
            seed = torch.ones_like(forward().detach())
            table[operation] = median_seconds(
                lambda: torch.autograd.grad(forward(), inputs, seed), options.seconds)
        parameter = torch.nn.Parameter(torch.randn(shape["trained"]))
        parameter.grad = torch.randn_like(parameter)
        optimizer = loops.adamw([parameter], 1e-3, "fused")
        table["adamw"] = median_seconds(optimizer.step, options.seconds)
        found[name] = table
    common_peer.emit(seconds=found, shapes=SHAPES)


if __name__ == "__main__":
    main()
