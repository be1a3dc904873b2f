#!/usr/bin/env python3
"""Sampling with transformers' `generate`: 20 rollouts per prompt at T = 1.

Tries several numbers of prompts per batch and reports the fastest, in
generated tokens per second up to and including the end of sequence. With
`--out` the rollouts of the last batch size are kept as the reference's JSON.
"""

import argparse
import json
import time

import common_peer as peer
import torch


def prompts(model_dir, problems, limit):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(f"{model_dir}/tokenizer.json")
    with open(problems) as file:
        rows = [json.loads(line) for line in file][:limit]
    return [(row["id"], tokenizer.encode(row["problem"]).ids) for row in rows]


@torch.inference_mode()
def sample(model, asked, size, options):
    """All rollouts and the seconds they took."""
    torch.manual_seed(options.seed)
    eos, pad = model.config.eos_token_id, model.config.pad_token_id or 0
    began, rollouts = time.perf_counter(), []
    for start in range(0, len(asked), size):
        group = asked[start:start + size]
        longest = max(len(ids) for _, ids in group)
        ids = torch.full((len(group), longest), pad)
        mask = torch.zeros(len(group), longest, dtype=torch.long)
        for row, (_, prompt) in enumerate(group):
            ids[row, longest - len(prompt):] = torch.tensor(prompt)
            mask[row, longest - len(prompt):] = 1
        out = model.generate(ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                             num_return_sequences=options.n, max_new_tokens=options.max_new_tokens,
                             eos_token_id=eos, pad_token_id=pad)[:, longest:].tolist()
        for row, tokens in enumerate(out):
            name, prompt = group[row // options.n]
            if eos in tokens:
                tokens = tokens[:tokens.index(eos) + 1]
            rollouts.append({"problem_id": name, "gen_index": row % options.n, "prompt_length": len(prompt),
                             "correct": None, "tokens": prompt + tokens})
    return rollouts, time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", required=True, help="JSONL with id and problem")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--prompts-per-batch", default="1,2,5,10,20,40")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = peer.load_model(options.model)
    asked = prompts(options.model, options.problems, options.limit)
    tried, clock = {}, {}
    for size in map(int, options.prompts_per_batch.split(",")):
        cpu = time.process_time()
        rollouts, seconds = sample(model, asked, size, options)
        tokens = sum(len(r["tokens"]) - r["prompt_length"] for r in rollouts)
        tried[size], clock[size] = tokens / seconds, tokens / (time.process_time() - cpu)
    best = max(tried, key=tried.get)
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"rollouts": rollouts}, file)
    peer.emit(prompts_per_batch=best, tokens_per_s=tried[best], tried_tokens_per_s=tried,
              tokens_per_cpu_s=clock[best], rollouts=len(rollouts),
              tokens_last=tokens)


if __name__ == "__main__":
    main()
