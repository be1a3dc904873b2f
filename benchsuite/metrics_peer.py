#!/usr/bin/env python3
"""The pair metrics alone in torch, on random rows at a real vocabulary, and
what the machine can do: read bandwidth and f32 matrix products."""

import argparse
import time

import common_peer as peer
import torch


def seconds(work, repeats):
    """The best of some repeats, as forkscope's own kernel bench counts."""
    return clocked(work, repeats)[0]


def clocked(work, repeats):
    """Wall and CPU seconds, each the least of the repeats."""
    work()
    times = []
    for _ in range(repeats):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - began, time.process_time() - cpu))
    return [min(column) for column in zip(*times)]


def read_bandwidth(repeats):
    """Bytes/s of a sum over 1 GiB."""
    data = torch.ones(1 << 28)
    return 4 * data.numel() / seconds(data.sum, repeats)


def gemm_rate(repeats):
    """FLOP/s of [2048, 896] x [896, 4864], the MLP of Qwen2.5-0.5B on 2,048 tokens."""
    m, k, n = 2048, 896, 4864
    a, b = torch.randn(m, k), torch.randn(n, k)
    return 2 * m * k * n / seconds(lambda: torch.nn.functional.linear(a, b), repeats)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=151936)
    parser.add_argument("--chunks", default="1,2,4,8,16,32,64,128")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--machine-only", action="store_true", help="only read bandwidth and matrix products")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.machine_only:
        return peer.emit(read_bytes_per_s=read_bandwidth(options.repeats), gemm_flop_per_s=gemm_rate(options.repeats))
    torch.manual_seed(0)
    base = torch.randn(options.rows, options.vocab) * 2
    tuned = base + 0.3 * torch.randn(options.rows, options.vocab)
    tokens = torch.randint(0, options.vocab, (options.rows,))

    def run(chunk):
        for start in range(0, options.rows, chunk):
            part = slice(start, start + chunk)
            peer.pair_metrics(base[part], tuned[part], tokens[part])

    clocks = {chunk: clocked(lambda: run(chunk), options.repeats) for chunk in map(int, options.chunks.split(","))}
    tried = {chunk: wall for chunk, (wall, _) in clocks.items()}
    best = min(tried, key=tried.get)
    peer.emit(rows=options.rows, vocab=options.vocab, chunk=best,
              cpu_us_per_row=1e6 * clocks[best][1] / options.rows, rows_per_s=options.rows / tried[best],
              bytes_per_s=8 * options.rows * options.vocab / tried[best],
              tried_rows_per_s={c: options.rows / s for c, s in tried.items()},
              read_bytes_per_s=read_bandwidth(options.repeats), gemm_flop_per_s=gemm_rate(options.repeats))


if __name__ == "__main__":
    main()
