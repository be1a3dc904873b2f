"""The training benchmarks of run.py: forkscope and plain torch loops on the
same model, data and number of steps.

Each function takes run.py's `Suite`, finds the peer's fastest settings, repeats
both sides and returns the record. Rates are of the steps after the warm-up on
both sides, memory is the kernel's peak resident size of the process.
"""

import json
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ORGANISM = ROOT / "crates" / "forkscope" / "assets" / "organism"
# Resident bytes that the LoRA peer was seen to take: without sequences, and for each in a forward pass.
LORA_FIXED, LORA_EACH = 2.2e9, 3.3e9


def median(runs, *path):
    values = []
    for run in runs:
        for step in path:
            run = run.get(step) if isinstance(run, dict) else None
        if run is not None:
            values.append(run)
    return statistics.median(values) if values else None


def ratio(numerator, denominator):
    return numerator / denominator if numerator and denominator else None


def available_bytes():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) * 1024


def read_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def forkscope_steps(out, warm_up):
    """What the peers print of themselves, from a run's `timing.jsonl` (the steps
    after the warm-up) and `metrics.jsonl` (all)."""
    rows, metrics = read_lines(out / "timing.jsonl")[warm_up:], read_lines(out / "metrics.jsonl")
    seconds, tokens = sum(row["seconds"] for row in rows), sum(row["tokens"] for row in rows)
    facts = {"steps": len(rows), "seconds": seconds, "tokens": tokens, "seconds_per_step": seconds / len(rows),
             "tokens_per_s": tokens / seconds}
    parts = {name for row in rows for name in row if name.endswith("_seconds")}
    facts.update({name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in sorted(parts)})
    for name in ("loss", "reward"):
        values = [row[name] for row in metrics if row.get(name) is not None]
        if values:
            facts[f"first_{name}"], facts[f"last_{name}"] = values[0], values[-1]
    return facts


# A rate that stays, and no checkpoint but the last: the peers write none.
COMMON = ["--lr-scheduler", "constant", "--checkpoint-every", 0, "--no-tensorboard"]


class Bench:
    """Both sides of one benchmark."""

    def __init__(self, suite, name, script, flags, warm_up):
        self.suite, self.script, self.flags, self.warm_up = suite, f"train/{script}", flags, warm_up
        self.out = suite.data / "train" / f"{name}-forkscope"
        self.result = {"warm_up": warm_up, "peer": {}, "forkscope": []}

    def peer(self, flags, steps):
        return self.suite.peer(self.script, *self.flags, *flags, "--steps", steps + self.warm_up,
                               "--warm-up", self.warm_up)

    def fastest(self, variants, steps, extra=lambda flags: []):
        """Tries every variant for a few steps; those that fail (no compiler, no
        memory) are recorded as such. Returns the fastest one's name."""
        if len(variants) == 1:
            return next(iter(variants)), {}
        tried = {}
        for name, flags in variants.items():
            try:
                tried[name] = self.peer([*flags, *extra(flags)], steps)["facts"]["tokens_per_s"]
            except SystemExit as reason:
                tried[name] = None
                print(f"{self.script} {name}: {str(reason).splitlines()[0]}", flush=True)
        return max(tried, key=lambda name: tried[name] or 0.0), tried

    def measure_peer(self, title, variants, steps, tuning_steps, extra=lambda flags: []):
        """The peer at its fastest variant, as often as asked."""
        wanted = self.suite.options.variants
        if wanted:
            variants = {name: flags for name, flags in variants.items() if name in wanted.split(",")} or variants
        best, tried = self.fastest(variants, tuning_steps, extra)
        runs = [self.peer(variants[best], steps) for _ in range(self.suite.options.repeats)]
        self.result["peer"][title] = {"variant": best, "tried_tokens_per_s": tried, "runs": runs}

    def measure_forkscope(self, objective, flags):
        if self.suite.options.peer_only:
            return
        for _ in range(self.suite.options.repeats):
            run = self.suite.forkscope("train", objective, *flags, *COMMON, out=self.out)
            self.result["forkscope"].append({**run, "facts": forkscope_steps(self.out, self.warm_up)})

    def ends(self, runs):
        """Losses and rewards of the first and the last step: that both sides do the same work."""
        facts = runs[0]["facts"] if runs else {}
        return {name: facts[name] for name in ("first_loss", "last_loss", "first_reward", "last_reward")
                if name in facts}

    def record(self):
        """Medians of both sides and how many times better forkscope is."""
        ours = self.result["forkscope"]
        rate, step = median(ours, "facts", "tokens_per_s"), median(ours, "facts", "seconds_per_step")
        memory = median(ours, "peak_rss_bytes")
        table = {"forkscope": {"tokens_per_s": rate, "seconds_per_step": step, "peak_rss_bytes": memory,
                               "whole_process_s": median(ours, "wall_s"), **self.ends(ours)}}
        for title, peer in self.result["peer"].items():
            runs = peer["runs"]
            theirs = {"variant": peer["variant"], "tokens_per_s": median(runs, "facts", "tokens_per_s"),
                      "seconds_per_step": median(runs, "facts", "seconds_per_step"),
                      "peak_rss_bytes": median(runs, "peak_rss_bytes"), "whole_process_s": median(runs, "wall_s"), **self.ends(runs)}
            table[f"peer {title}"] = theirs
            table[f"forkscope is better than peer {title} by"] = {
                "tokens_per_s": ratio(rate, theirs["tokens_per_s"]),
                "seconds_per_step": ratio(theirs["seconds_per_step"], step),
                "memory": ratio(theirs["peak_rss_bytes"], memory)}
        return {**self.result, "summary": table}


def data(suite, kind, name, *flags):
    """A data file of the benchmark, made once."""
    path = suite.data / "train" / name
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        suite.script("train/make_data.py", kind, *flags, "--out", path)
    return path


def pretrain(suite):
    """The organism from nothing, 16 documents a step."""
    suite.options.pair = suite.options.pair or ORGANISM
    suite.options.problems = suite.options.problems or ORGANISM / "problems.jsonl"
    base, steps = suite.options.pair / "base", suite.options.steps or 100
    corpus = suite.options.corpus or data(suite, "corpus", "corpus.jsonl", "--rollouts", suite.rollouts())
    bench = Bench(suite, "pretrain", "pretrain_peer.py", ["--config", base, "--corpus", corpus], 5)
    compiled = ["--compile", "--give-up-s", 400]
    bench.measure_peer("transformers", {
        "mask": [], "no-mask": ["--mask", "off"], "no-mask+memory kept": ["--mask", "off", "--keep-memory"],
        "no-mask+foreach": ["--mask", "off", "--optimizer", "foreach"],
        "no-mask+compiled": ["--mask", "off", *compiled]}, steps, 20)
    lean = ["--writing", "lean"]
    bench.measure_peer("lean", {"eager": lean, "eager+memory kept": [*lean, "--keep-memory"],
                                "compiled": [*lean, *compiled]}, steps, 20)
    bench.measure_forkscope("pretrain", [
        "--config", base, "--data", corpus, "--batch-size", 16, "--steps", steps + bench.warm_up,
        "--learning-rate", 2e-3, "--adam-beta2", 0.98, "--weight-decay", 0.05])
    return bench.record()


def lora(suite):
    """LoRA on decision tokens, Qwen2.5-0.5B's shape, 4 sequences of 512 a step."""
    model = suite.data / "big" / "base"
    if not (model / "model.safetensors").exists():
        suite.script("make_big_pair.py", "--out", suite.data / "big")
    decisions, steps = data(suite, "decisions", "decisions.jsonl"), suite.options.steps or 2
    bench = Bench(suite, "lora", "lora_peer.py", ["--model", model, "--data", decisions], 1)
    sizes = [n for n in (1, 2, 4) if LORA_FIXED + n * LORA_EACH < 0.9 * available_bytes()] or [1]
    for title, head in {"full head": "full", "head at decisions": "decisions"}.items():
        variants = {f"{n} at a time": ["--head", head, "--micro", n] for n in sizes}
        # Trials take as many sequences a step as go through at a time.
        bench.measure_peer(title, variants, steps, 1, lambda flags: ["--batch", flags[-1]])
    bench.result["sequences_at_a_time_that_fit"] = sizes
    bench.measure_forkscope("sft", [
        "--model", model, "--data", decisions, "--batch-size", 4, "--order", "in-order",
        "--steps", steps + bench.warm_up, "--learning-rate", 1e-4, "--lora-rank", 32, "--lora-alpha", 64,
        "--target-modules", "q_proj,k_proj,v_proj,o_proj"])
    return bench.record()


def grpo(suite):
    """GRPO on the organism, sampling included, 16 prompts x 8 completions."""
    place = suite.options.pair or ORGANISM
    problems, steps = suite.options.problems or ORGANISM / "problems.jsonl", suite.options.steps or 10
    bench = Bench(suite, "grpo", "grpo_peer.py", ["--model", place / "base", "--problems", problems], 1)
    bench.measure_peer("transformers", {
        f"{prompts} prompts sampled and {rows} rows updated at a time":
            ["--prompts-per-batch", prompts, "--micro", rows]
        for prompts, rows in ((16, 32), (16, 128), (8, 32))}, steps, 2)
    bench.measure_forkscope("grpo", [
        "--model", place / "base", "--problems", problems, "--prompts-per-step", 16, "--num-generations", 8,
        "--max-completion-length", 180, "--steps", steps + bench.warm_up, "--learning-rate", 1e-3,
        "--adam-beta2", 0.95, "--lora-rank", 16, "--lora-alpha", 32])
    return bench.record()


def ops(suite):
    """Single operations, forward and backward, at the organism's and the big shape.
    One thread on both sides: forkscope trains a part of the sequences on each core."""
    suite.options.threads = 1
    repeats = suite.options.repeats
    peers = [suite.peer("train/ops_peer.py") for _ in range(repeats)]
    result = {"peer": peers, "forkscope": []}
    if not suite.options.peer_only:
        build = ["cargo", "build", "--release", "-q", "-p", "forkscope-train", "--example", "op_bench"]
        subprocess.run(build, cwd=ROOT, check=True)
        command = [suite.target() / "release" / "examples" / "op_bench", "--threads", suite.options.threads, "--json"]
        suite.record(command)
        result["forkscope"] = [json.loads(suite.run_quietly(command)["last_line"]) for _ in range(repeats)]
    table = {}
    for shape, operations in peers[0]["facts"]["seconds"].items():
        for name in operations:
            theirs = median(peers, "facts", "seconds", shape, name)
            ours = median(result["forkscope"], "seconds", shape, name)
            table[f"{shape} {name}"] = {"peer_s": theirs, "forkscope_s": ours,
                                        "forkscope is faster by": ratio(theirs, ours)}
    return {**result, "summary": table}


BENCHES = {"train-pretrain": pretrain, "train-lora": lora, "train-grpo": grpo, "train-ops": ops}
