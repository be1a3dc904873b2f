#!/usr/bin/env python3
"""Token-level diff of two models in plain PyTorch + transformers.

Reads the reference's rollout JSON, scores both models in batches sorted by
length, computes forkscope's diff columns at every completion position and
writes tokens.parquet and findings.json. `--batch 8,16,...` first tries each
size (and keeps the fastest); `--batch 32` uses that one.
"""

import argparse
import json
import time
from pathlib import Path

import common_peer as peer
import numpy as np
import torch


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument("--tuned", required=True)
    parser.add_argument("--rollouts", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--batch", default="8,16,32,64,128,256")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mask", choices=["on", "off"], default="on",
                        help="right padding needs no mask under causal attention: off is faster, if less usual")
    parser.add_argument("--head", choices=["full", "rows"], default="full",
                        help="full: model(...).logits; rows: the head on completion positions only")
    parser.add_argument("--chunk-elements", type=int, default=1 << 23, help="rows x vocabulary per metrics step")
    parser.add_argument("--tune-only", action="store_true")
    return parser.parse_args()


class Scorer:
    def __init__(self, options, base, tuned, rollouts):
        self.options, self.models, self.rollouts = options, (base, tuned), rollouts
        self.order = sorted(range(len(rollouts)), key=lambda i: len(rollouts[i]["tokens"]))
        lengths = [len(r["tokens"]) - r["prompt_length"] for r in rollouts]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])

    def batches(self, size):
        for start in range(0, len(self.order), size):
            members = self.order[start:start + size]
            longest = max(len(self.rollouts[i]["tokens"]) for i in members)
            ids = torch.zeros(len(members), longest, dtype=torch.long)
            mask = torch.zeros(len(members), longest, dtype=torch.long)
            wanted = torch.zeros(len(members), longest, dtype=torch.bool)
            for row, i in enumerate(members):
                tokens, prompt = self.rollouts[i]["tokens"], self.rollouts[i]["prompt_length"]
                ids[row, :len(tokens)] = torch.tensor(tokens)
                mask[row, :len(tokens)] = 1
                wanted[row, prompt - 1:len(tokens) - 1] = True
            yield members, ids, mask, wanted

    def rows(self, model, ids, mask, wanted):
        """Logits of the completion positions [N, V], or the hidden states behind them."""
        inputs = {"input_ids": ids, "use_cache": False}
        if self.options.mask == "on":
            inputs["attention_mask"] = mask
        if self.options.head == "full":
            return model(**inputs).logits[wanted]
        return model.model(**inputs).last_hidden_state[wanted]

    @torch.inference_mode()
    def score(self, size):
        """Every column, rows in the order of the rollouts, and the seconds it took."""
        began, cpu = time.perf_counter(), time.process_time()
        columns = {}
        vocabulary = self.models[0].config.vocab_size
        chunk = max(1, self.options.chunk_elements // vocabulary)
        for members, ids, mask, wanted in self.batches(size):
            both = [self.rows(model, ids, mask, wanted) for model in self.models]
            predicted = ids.roll(-1, 1)[wanted]
            places = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in members])
            for start in range(0, len(predicted), chunk):
                part = slice(start, start + chunk)
                base, tuned = (rows[part] for rows in both)
                if self.options.head == "rows":
                    base, tuned = self.models[0].lm_head(base), self.models[1].lm_head(tuned)
                for name, values in peer.pair_metrics(base, tuned, predicted[part]).items():
                    values = values.numpy()
                    if name not in columns:
                        columns[name] = np.empty((self.offsets[-1], *values.shape[1:]), values.dtype)
                    columns[name][places[part]] = values
        self.cpu_s = time.process_time() - cpu
        return columns, time.perf_counter() - began


def write(out, rollouts, columns):
    import pyarrow
    import pyarrow.parquet
    out.mkdir(parents=True, exist_ok=True)
    counts = [len(r["tokens"]) - r["prompt_length"] for r in rollouts]
    rank = columns["base_rank_of_tuned_argmax"]
    changed = columns["argmax_base_id"] != columns["argmax_tuned_id"]
    kinds = np.where(~changed, 0, np.where(rank <= 5, 1, 2))
    table = {
        "problem_id": np.repeat([str(r["problem_id"]) for r in rollouts], counts),
        "sample": np.repeat([r.get("gen_index", 0) for r in rollouts], counts),
        "t": np.concatenate([np.arange(r["prompt_length"], len(r["tokens"])) for r in rollouts]),
        "token_id": np.concatenate([r["tokens"][r["prompt_length"]:] for r in rollouts]),
        "class": np.array(["unshifted", "reranked", "shifted"])[kinds],
    }
    for name, values in columns.items():
        if values.ndim == 2:
            values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), values.shape[1])
        table[name] = values
    pyarrow.parquet.write_table(pyarrow.table(table), out / "tokens.parquet")
    (out / "findings.json").write_text(json.dumps(findings(columns, kinds, changed), indent=1))


def findings(columns, kinds, changed):
    entropy, n = columns["entropy_base_nats"], len(kinds)
    result = {"positions": n, "share.reranked": float((kinds == 1).mean()), "share.shifted": float((kinds == 2).mean())}
    if changed.any() and not changed.all():
        result["entropy_ratio"] = float(entropy[changed].mean() / entropy[~changed].mean())
        result["mean_base_rank"] = float(columns["base_rank_of_tuned_argmax"][changed].mean())
    for name in ("kl_tuned_base_nats", "kl_base_tuned_nats", "js_nats", "tv", "delta_logprob"):
        values = columns[name].astype(np.float64)
        result[name] = {"mean": values.mean(), **{f"p{q}": np.percentile(values, q) for q in (5, 50, 95, 99)}}
    kl = np.sort(columns["kl_tuned_base_nats"].astype(np.float64))[::-1]
    result["kl.share_in_top_5_percent"] = float(kl[:max(1, n // 20)].sum() / kl.sum())
    return result


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    rollouts = peer.read_rollouts(options.rollouts)
    began = time.perf_counter()
    base, tuned = peer.load_model(options.base), peer.load_model(options.tuned)
    load_s = time.perf_counter() - began
    scorer = Scorer(options, base, tuned, rollouts)
    sizes = [int(size) for size in options.batch.split(",")]
    tried = {}
    if len(sizes) > 1 or options.tune_only:
        scorer.score(sizes[0])
        tried = {size: min(scorer.score(size)[1] for _ in range(2)) for size in sizes}
        sizes = [min(tried, key=tried.get)]
    facts = {"batch": sizes[0], "tried_s": tried, "positions": int(scorer.offsets[-1]), "load_s": load_s}
    if not options.tune_only:
        columns, score_s = scorer.score(sizes[0])
        began = time.perf_counter()
        write(options.out, rollouts, columns)
        facts |= {"score_s": score_s, "score_cpu_s": scorer.cpu_s, "write_s": time.perf_counter() - began,
                  "positions_per_s": facts["positions"] / score_s,
                  "total_s": time.perf_counter() - peer.STARTED}
    peer.emit(**facts)


if __name__ == "__main__":
    main()
