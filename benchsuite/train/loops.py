"""What the training peers share: data, batches, the clock of a training loop."""

import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import common_peer  # noqa: E402
import torch  # noqa: E402

IGNORED = -100
load_model = common_peer.load_model


def keep_memory():
    """glibc: freed blocks stay with the process, so that their pages are not
    faulted in again. Few users know it; it is here so that torch is at its best."""
    import ctypes
    libc, trim_threshold, mmap_threshold = ctypes.CDLL("libc.so.6"), -1, -3
    libc.mallopt(mmap_threshold, 2**30)
    libc.mallopt(trim_threshold, 2**31 - 1)


def read_examples(path):
    """`(ids, weights)` of each line of forkscope's examples of token ids; the
    prompt weighs nothing where completions have weights, else all is 1."""
    examples = []
    with open(path) as file:
        for row in map(json.loads, file):
            prompt, completion = row["prompt_ids"], row["completion_ids"]
            weights = row.get("completion_weights")
            weights = [0.0] * len(prompt) + weights if weights else [1.0] * (len(prompt) + len(completion))
            examples.append((prompt + completion, weights))
    return examples


def batches(lengths, size, order, seed):
    """Indices of each batch: `sorted` by length and cut, the batches shuffled
    (the least padding there is), or drawn at `random`."""
    draw = random.Random(seed)
    indices = list(range(len(lengths)))
    draw.shuffle(indices)
    if order == "sorted":
        indices.sort(key=lambda i: lengths[i])
    cut = [indices[i:i + size] for i in range(0, len(indices), size)]
    draw.shuffle(cut)
    return cut


def padded(rows, fill):
    """Right-padded ids."""
    out = torch.full((len(rows), max(map(len, rows))), fill)
    for i, row in enumerate(rows):
        out[i, :len(row)] = torch.tensor(row)
    return out


def adamw(parameters, rate, kind, **settings):
    """torch's AdamW; `kind` is fused, foreach or plain."""
    return torch.optim.AdamW(parameters, lr=rate, **{kind: True} if kind != "plain" else {"foreach": False}, **settings)


class Clock:
    """Seconds and tokens of each step; the first `warm_up` do not count."""

    def __init__(self, warm_up):
        self.warm_up, self.steps, self.losses, self.parts = warm_up, [], [], {}
        self.last = time.perf_counter()

    def start(self):
        self.last = time.perf_counter()

    def step(self, tokens, loss, **parts):
        now = time.perf_counter()
        self.steps.append((now - self.last, tokens))
        self.losses.append(loss)
        for name, seconds in parts.items():
            self.parts.setdefault(name, []).append(seconds)
        self.last = now

    def emit(self, **facts):
        """The result, as the last line of stdout."""
        timed = self.steps[self.warm_up:]
        seconds, tokens = sum(s for s, _ in timed), sum(t for _, t in timed)
        for name, values in self.parts.items():
            facts[name] = sum(values[self.warm_up:]) / max(1, len(timed))
        common_peer.emit(steps=len(timed), seconds=seconds, tokens=tokens, tokens_per_s=tokens / seconds,
                         seconds_per_step=seconds / len(timed), first_loss=self.losses[0],
                         last_loss=self.losses[-1], **facts)
