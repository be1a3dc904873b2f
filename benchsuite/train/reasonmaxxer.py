"""ReasonMaxxer against the published trainer, and scoring against its scoring
algorithm: the functions behind `run.py train-reasonmaxxer` and `score-entropies`.

Both sides take the same processed rollouts, start from the same adapter and do
the same number of optimiser steps; the record says how far apart the adapters
end. The peer is the published script, unchanged, from a checkout that
`--checkout` names.
"""

import json
import os
import shutil
import subprocess

from train.bench import ORGANISM, forkscope_steps, median, ratio

RECIPE = {"epochs": 2, "grad-accum-steps": 8, "learning-rate": 1e-4, "warmup-steps": 50, "kl-weight": 0.2,
          "adv-clip": 2.5, "max-seq-len": 8192, "max-optimizer-steps": 0}
# Sizes of both benchmarks; `quick` only shows that everything runs.
SIZES = {
    False: {"lab": 300, "problems": 50, "samples": 20, "layers": 24, "length": 512, "prompt": 64},
    True: {"lab": 24, "problems": 6, "samples": 8, "layers": 1, "length": 48, "prompt": 8}}
ANCHOR_SHARE = 0.1


def size(suite):
    return SIZES[suite.options.quick]


def place(suite, name):
    return suite.data / "reasonmaxxer" / (f"{name}-quick" if suite.options.quick else name)


def quietly(suite, *words):
    """A command of forkscope that prepares something."""
    line = [suite.binary(), *words]
    suite.record(line)
    subprocess.run([str(word) for word in line], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def organism(suite):
    """Model directory and pool: 50 problems of the lab's training split that the
    base solves at times, 20 rollouts each, the shortest four fifths."""
    root, sizes = place(suite, "organism"), size(suite)
    model = root / "exported" / "base"
    if not (root / "pool" / "processed.json").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        quietly(suite, "lab", "export", "--out", root / "exported")
        problems = root / "problems.jsonl"
        quietly(suite, "lab", "problems", "--split", "train", "-n", sizes["lab"], "--out", problems)
        quietly(suite, "sample", "--model", model, "--problems", problems, "-n", sizes["samples"],
                "--max-tokens", 192, "--out", root / "sampled")
        quietly(suite, "score", "--model", model, "--rollouts", root / "sampled", "--out", root / "scored")
        quietly(suite, "select", "--rollouts", root / "scored", "--max-problems", sizes["problems"],
                "--write-reference", "--out", root / "selected")
        print(suite.script("train/make_pool.py", "pool", "--model", model, "--selected",
                           root / "selected" / "reference.json", "--out", root / "pool"))
    return model, root / "pool"


def large(suite):
    """Qwen2.5-0.5B's shape with random weights; 8 rollouts of two prompts."""
    root, sizes = place(suite, "large"), size(suite)
    model = suite.data / "big" / "base"
    if suite.options.quick:
        model = root / "model" / "base"
    if not (model / "model.safetensors").exists():
        suite.script("make_big_pair.py", "--layers", sizes["layers"], "--out", model.parent)
    if not (root / "processed.json").exists():
        print(suite.script("train/make_pool.py", "random", "--model", model, "--problems", 2, "--each", 4, "--length",
                           sizes["length"], "--prompt", sizes["prompt"], "--out", root))
    return model, root


def with_tokenizer(suite, model):
    """The published trainer loads a tokenizer, of which it takes the padding id
    alone; the random model has none."""
    if (model / "tokenizer.json").exists():
        return model
    root = place(suite, "with-tokenizer")
    root.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if not (root / path.name).exists():
            (root / path.name).symlink_to(path.resolve())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ORGANISM / "base" / name, root / name)
    return root


def published(suite, model, pool, out):
    """One run of the published trainer, and what its log says."""
    os.environ.update(OMP_NUM_THREADS=str(suite.options.threads), HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    names = {"learning-rate": "lr"}
    recipe = [word for name, value in RECIPE.items()
              for word in (f"--{names.get(name, name).replace('-', '_')}", value)]
    command = [suite.python, "-W", "ignore", suite.options.checkout / "scripts" / "train_reasonmaxxer.py",
               "--training_data", pool / "processed.json", "--base_model", with_tokenizer(suite, model),
               "--init_adapter", pool / "adapter", "--output_dir", out, *recipe, "--curriculum_ordering",
               "--logging_steps", 8, "--no_save_every_epoch", "--local_files_only",
               "--device", "cpu", "--dtype", "float32"]
    suite.record(command)
    run = suite.run_quietly(command)
    run.pop("last_line")
    log = json.loads((out / "training_log.json").read_text())
    last = log["epochs"][-1]
    return {**run, "facts": {"seconds": log["total_elapsed_sec"], "steps": last["optimizer_steps"],
                             "rollouts": sum(epoch["num_batches"] for epoch in log["epochs"]),
                             "avg_decision_loss": last["avg_decision_loss"], "avg_kl_loss": last["avg_kl_loss"]}}


def ours(suite, model, pool, out, *flags):
    recipe = [word for name, value in RECIPE.items() for word in (f"--{name}", value)]
    run = suite.forkscope("train", "reasonmaxxer", "--model", model, "--rollouts", pool / "processed.json",
                          "--init-adapter", pool / "adapter", *recipe, "--order", "signal-clarity", "--log-every", 8,
                          "--checkpoint-every", 1000000, "--no-tensorboard", *flags, out=out)
    return {**run, "facts": forkscope_steps(out, 0)}


def adapters_apart(suite, ours, theirs):
    """|ours - theirs| / |theirs - initial| over all of the adapter's B (A moves
    little): 0 where both learned the same."""
    code = ("import sys, numpy as np; from safetensors.numpy import load_file as f;"
            "a, b = (f(p + '/adapter_model.safetensors') for p in sys.argv[1:]);"
            "k = [n for n in b if 'lora_B' in n]; d = sum(((a[n] - b[n]) ** 2).sum() for n in k);"
            "print((d / sum((b[n] ** 2).sum() for n in k)) ** 0.5)")
    done = subprocess.run([suite.python, "-c", code, ours, theirs], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def compare(suite, name, model, pool, variants):
    """The published trainer against forkscope's variants."""
    root, repeats = place(suite, name), suite.options.repeats
    result = {"peer": [published(suite, model, pool, root / "peer") for _ in range(repeats)], "forkscope": {},
              "adapters_apart": {}}
    for title, flags in variants.items():
        if suite.options.peer_only:
            continue
        out = root / f"forkscope-{title.replace(' ', '-').replace('.', '-')}"
        result["forkscope"][title] = [ours(suite, model, pool, out, *flags) for _ in range(repeats)]
        result["adapters_apart"][title] = adapters_apart(suite, out / "final", root / "peer" / "final")
    result["summary"] = summary(result)
    return result


def of(runs):
    return {"training_s": median(runs, "facts", "seconds"), "whole_process_s": median(runs, "wall_s"),
            "steps": median(runs, "facts", "steps"), "peak_rss_bytes": median(runs, "peak_rss_bytes")}


def summary(result):
    peer = of(result["peer"])
    table = {"published trainer": peer}
    for title, runs in result["forkscope"].items():
        mine = of(runs)
        table[f"forkscope, {title}"] = mine
        table[f"forkscope, {title}: better by"] = {
            "training": ratio(peer["training_s"], mine["training_s"]),
            "whole process": ratio(peer["whole_process_s"], mine["whole_process_s"]),
            "share of the peer's memory": ratio(mine["peak_rss_bytes"], peer["peak_rss_bytes"]),
            "adapters apart": result["adapters_apart"][title]}
    return table


def products(model, pool, share, base_each_epoch):
    """Floating-point operations of the products with weights: forward and the
    gradient by the inputs for the tuned side, forward for the base, in every
    epoch or once; the head at every position or at decisions and a share of the
    others. Attention scores, norms and the adapter are left out."""
    config = json.loads((model / "config.json").read_text())
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    layers = config["num_hidden_layers"] * 2 * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner)
    total = 0.0
    for row in json.loads((pool / "processed.json").read_text())["rollouts"]:
        tokens, decisions = len(row["input_ids"]) - 1, len(row["decision_positions"])
        looked = decisions + share * (tokens - decisions)
        epochs = RECIPE["epochs"]
        base = epochs if base_each_epoch else 1
        total += tokens * layers * (2 * epochs + base) + looked * 2 * hidden * vocabulary * 3 * epochs
    return total


def reasonmaxxer(suite):
    """Two epochs of the recipe for 1.5B: the organism, then a large shape."""
    if not suite.options.checkout:
        raise SystemExit("train-reasonmaxxer needs --checkout DIR, the published code of arXiv 2605.06241")
    result, table = {}, {}
    parts = (suite.options.variants or "organism,large").split(",")
    if "organism" in parts:
        model, pool = organism(suite)
        result["organism"] = compare(suite, "organism", model, pool, {"every anchor": []})
        table["organism"] = result["organism"].pop("summary")
    if "large" in parts:
        model, pool = large(suite)
        result["large"] = compare(suite, "large", model, pool, {
            "every anchor": [], f"anchor share {ANCHOR_SHARE}": ["--anchor-share", ANCHOR_SHARE]})
        table["large"] = result["large"].pop("summary")
        rate = median([suite.peer("metrics_peer.py", "--machine-only")], "facts", "gemm_flop_per_s")
        floors = {"published trainer": products(model, pool, 1.0, True),
                  "forkscope, every anchor": products(model, pool, 1.0, False),
                  f"forkscope, anchor share {ANCHOR_SHARE}": products(model, pool, ANCHOR_SHARE, False)}
        table["large"]["floor set by matrix products"] = {"torch_gemm_flop_per_s": rate, **{
            name: {"flop": flop, "seconds": flop / rate,
                   "share of the time": ratio(flop / rate, table["large"].get(name, {}).get("training_s"))}
            for name, flop in floors.items()}}
    return {**result, "summary": table}


def entropies(suite):
    """Entropies of every completion position: the organism, then a large shape."""
    result, table = {}, {}
    parts = (suite.options.variants or "organism,large").split(",")
    for name, make in (("organism", organism), ("large", large)):
        if name not in parts:
            continue
        model, pool = make(suite)
        root = place(suite, name)
        flags = ["--model", model, "--rollouts", pool / "rollouts.json"]
        peers = [suite.peer("entropy_peer.py", *flags, "--out", root / "entropies.json")
                 for _ in range(suite.options.repeats)]
        runs, same = [], None
        if not suite.options.peer_only:
            runs = [suite.forkscope("score", *flags, out=root / "scored-here") for _ in range(suite.options.repeats)]
            same = json.loads(suite.script("entropy_peer.py", "--out", root / "entropies.json", "--compare",
                                           root / "scored-here"))
        weights = (model / "model.safetensors").stat().st_size
        result[name] = {"peer": peers, "forkscope": runs, "same_numbers": same}
        table[name] = scored(peers, runs, weights)
    return {**result, "summary": table}


def scored(peers, runs, weights):
    peer = {"scoring_s": median(peers, "facts", "seconds"), "whole_process_s": median(peers, "wall_s"),
            "above_weights_bytes": median(peers, "peak_rss_bytes") - weights}
    mine = {"scoring_s": median(runs, "timing", "parts", "score_s"), "whole_process_s": median(runs, "wall_s")}
    if runs:
        mine["above_weights_bytes"] = median(runs, "peak_rss_bytes") - weights
    return {"weights_bytes": weights, "published algorithm": peer, "forkscope": mine, "forkscope is better by": {
        "scoring": ratio(peer["scoring_s"], mine["scoring_s"]),
        "whole process": ratio(peer["whole_process_s"], mine["whole_process_s"]),
        "share of the peer's memory above the weights":
            ratio(mine.get("above_weights_bytes"), peer["above_weights_bytes"])}}


BENCHES = {"train-reasonmaxxer": reasonmaxxer, "score-entropies": entropies}
