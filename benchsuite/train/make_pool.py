#!/usr/bin/env python3
"""Data of the ReasonMaxxer benchmarks, as the published trainer reads it.

`pool`: the rollouts that `forkscope select --write-reference` chose, with their
advantages; decisions where the entropy is in the top share.
`random`: rollouts of random tokens, several to a prompt, decisions drawn.
Both write OUT/processed.json (for training), OUT/rollouts.json (for scoring)
and OUT/adapter (what both sides start from: A uniform, B zero, as PEFT does).
"""

import argparse
import json
import math
import random
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

RANK, ALPHA = 32, 64


def advantages(rows):
    """(r - mean) / population deviation within each problem."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["problem_id"]].append(row)
    for group in groups.values():
        rewards = [float(row["correct"]) for row in group]
        mean, deviation = statistics.fmean(rewards), max(statistics.pstdev(rewards), 1e-8)
        for row, reward in zip(group, rewards):
            row["advantage"] = (reward - mean) / deviation


def pool(options):
    rows = json.loads(options.selected.read_text())["rollouts"]
    seen = sorted(h for row in rows for h in row["entropies"])
    tau = seen[int((1 - options.share) * len(seen))]
    return [entry(row["problem_id"], row["gen_index"], row["tokens"], row["prompt_length"], row["correct"],
                  [row["prompt_length"] + i for i, h in enumerate(row["entropies"]) if h > tau]) for row in rows]


def drawn(options):
    draw, out = random.Random(5), []
    for problem in range(options.problems):
        prompt = [draw.randrange(options.vocab) for _ in range(options.prompt)]
        for sample in range(options.each):
            ids = prompt + [draw.randrange(options.vocab) for _ in range(options.length - options.prompt)]
            inside = range(options.prompt, options.length)
            decisions = sorted(draw.sample(inside, round(options.share * len(inside))))
            out.append(entry(f"random/{problem}", sample, ids, options.prompt, sample % 2 == 0, decisions))
    return out


def entry(problem, sample, ids, prompt_len, correct, decisions):
    """The published files count predicting positions."""
    return {"problem_id": problem, "gen_index": sample, "input_ids": ids, "prompt_length": prompt_len,
            "completion_length": len(ids) - prompt_len, "correct": bool(correct), "reward": float(correct),
            "decision_positions": [t - 1 for t in decisions]}


def write_adapter(model, out):
    config = json.loads((model / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    keys = head * config["num_key_value_heads"]
    shapes = {"q_proj": (hidden, heads * head), "k_proj": (hidden, keys), "v_proj": (hidden, keys),
              "o_proj": (heads * head, hidden)}
    draw, tensors = np.random.default_rng(11), {}
    for layer in range(config["num_hidden_layers"]):
        for name, (inputs, outputs) in shapes.items():
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            bound = 1 / math.sqrt(inputs)
            tensors[f"{place}.lora_A.weight"] = draw.uniform(-bound, bound, (RANK, inputs)).astype(np.float32)
            tensors[f"{place}.lora_B.weight"] = np.zeros((outputs, RANK), np.float32)
    out.mkdir(exist_ok=True)
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    (out / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "r": RANK,
        "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none", "target_modules": list(shapes)}, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["pool", "random"])
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--selected", type=Path, help="reference.json of forkscope select (pool)")
    parser.add_argument("--problems", type=int, default=2, help="prompts (random)")
    parser.add_argument("--each", type=int, default=4, help="rollouts of a problem (random)")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.05, help="share of completion tokens that decide")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    options.vocab = json.loads((options.model / "config.json").read_text())["vocab_size"]
    rows = pool(options) if options.kind == "pool" else drawn(options)
    advantages(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    write_adapter(options.model, options.out / "adapter")
    (options.out / "rollouts.json").write_text(json.dumps({"rollouts": [
        {"problem_id": r["problem_id"], "gen_index": r["gen_index"], "tokens": r["input_ids"],
         "prompt_length": r["prompt_length"], "correct": r["correct"]} for r in rows]}))
    (options.out / "processed.json").write_text(json.dumps({"rollouts": rows, "config": {}}))
    print(json.dumps({"rollouts": len(rows), "problems": len({r["problem_id"] for r in rows}),
                      "tokens": sum(len(r["input_ids"]) for r in rows),
                      "decisions": sum(len(r["decision_positions"]) for r in rows)}))


if __name__ == "__main__":
    main()
