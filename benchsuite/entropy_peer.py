#!/usr/bin/env python3
"""Entropies of rollouts as the published `score_rollouts.py` computes them: one
rollout at a time, logits of every position, a full-vocabulary log-softmax in
f32, one JSON document written as it goes. That script asks for a GPU and
tokenises text again; here the ids are taken as they are.

`--compare RUN` reads two results instead: the largest difference of --out from
the entropies of a run of `forkscope score`.
"""

import argparse
import json
import time
from pathlib import Path

import common_peer as peer
import torch


def entropies(logits):
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    probs = torch.exp(log_probs)
    return [float(x) for x in (-(probs * log_probs).sum(dim=-1)).tolist()]


def score(model, rollouts, out):
    """Seconds and positions, writing excluded from neither."""
    positions, began = 0, time.perf_counter()
    with open(out, "w") as file, torch.no_grad():
        file.write('{"rollouts": [\n')
        for i, row in enumerate(rollouts):
            ids, prompt_len = torch.tensor([row["tokens"]]), row["prompt_length"]
            answer = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
            logits = answer.logits[0, :-1, :].detach().float().cpu()
            values = entropies(logits[prompt_len - 1:])
            positions += len(values)
            file.write((",\n" if i else "") + json.dumps({**row, "entropies": values}))
        file.write("\n]}\n")
    return time.perf_counter() - began, positions


def compare(out, run):
    import pyarrow.parquet as parquet

    theirs = {(r["problem_id"], r["gen_index"]): (r["prompt_length"], r["entropies"])
              for r in json.loads(Path(out).read_text())["rollouts"]}
    columns = ["problem_id", "sample", "t", "entropy_nats"]
    rows = parquet.read_table(Path(run) / "tokens.parquet", columns=columns).to_pylist()
    worst = 0.0
    for row in rows:
        prompt_len, values = theirs[row["problem_id"], row["sample"]]
        worst = max(worst, abs(values[row["t"] - prompt_len] - row["entropy_nats"]))
    print(json.dumps({"positions": len(rows), "positions_of_peer": sum(len(v) for _, v in theirs.values()),
                      "largest_difference_nats": worst}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--rollouts")
    parser.add_argument("--out", required=True)
    parser.add_argument("--compare", help="a run of forkscope score")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.compare:
        return compare(options.out, options.compare)
    torch.set_num_threads(options.threads)
    model = peer.load_model(options.model)
    seconds, positions = score(model, peer.read_rollouts(options.rollouts), options.out)
    peer.emit(seconds=seconds, positions=positions, positions_per_s=positions / seconds,
              load_s=time.perf_counter() - peer.STARTED - seconds)


if __name__ == "__main__":
    main()
