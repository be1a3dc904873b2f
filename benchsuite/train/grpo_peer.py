#!/usr/bin/env python3
"""GRPO with transformers and peft: `generate` with left padding and a KV cache
for 16 prompts x 8 completions, group advantages, one on-policy update.

The adapter is merged while sampling and taken out again for the update; groups
whose rewards are all equal are left out; the update goes over completions
sorted by length, in batches. All of it is what a user who looks for speed does.
"""

import argparse
import json
import time

import loops
import torch

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def read_problems(model_dir, path, limit):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(f"{model_dir}/tokenizer.json")
    with open(path) as file:
        rows = [json.loads(line) for line in file][:limit]
    tail = [tokenizer.token_to_id("answer"), tokenizer.token_to_id("."), tokenizer.token_to_id("<eos>")]
    return [(tokenizer.encode(row["problem"]).ids, tokenizer.token_to_id(row["answer"])) for row in rows], tail


def reward(tokens, answer, tail):
    """1 if the completion ends `answer NN . <eos>` with the right NN."""
    return float(tokens[-4:] == [tail[0], answer, *tail[1:]])


@torch.no_grad()
def sample(model, group, options):
    """Completions, prompt by prompt, each up to and with its end of sequence."""
    eos, pad = model.config.eos_token_id, model.config.pad_token_id or 0
    completions = []
    for start in range(0, len(group), options.prompts_per_batch):
        part = [prompt for prompt, _ in group[start:start + options.prompts_per_batch]]
        longest = max(map(len, part))
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in part])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in part])
        out = model.generate(input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                             num_return_sequences=options.n, max_new_tokens=options.max_new_tokens,
                             eos_token_id=eos, pad_token_id=pad, use_cache=True)[:, longest:].tolist()
        completions += [row[:row.index(eos) + 1] if eos in row else row for row in out]
    return completions


def update(model, parameters, optimizer, prompts, completions, advantages, options):
    """One step of the token-mean policy gradient."""
    kept = [i for i in range(len(completions)) if abs(advantages[i]) > 1e-6]
    kept.sort(key=lambda i: len(prompts[i]) + len(completions[i]))
    count, total = sum(len(completions[i]) for i in kept), 0.0
    for start in range(0, len(kept), options.micro):
        part = kept[start:start + options.micro]
        ids = loops.padded([prompts[i] + completions[i] for i in part], 0)
        at = torch.zeros(len(part), ids.shape[1] - 1)
        for row, i in enumerate(part):
            at[row, len(prompts[i]) - 1:len(prompts[i]) + len(completions[i]) - 1] = 1
        logits = model(input_ids=ids).logits[:, :-1]
        log_probs = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        ratio = (log_probs - log_probs.detach()).exp()
        clipped = ratio.clamp(0.8, 1.2)
        weight = torch.tensor([advantages[i] for i in part])[:, None]
        loss = -(torch.minimum(ratio * weight, clipped * weight) * at).sum() / count
        loss.backward()
        total += loss.item()
    if kept:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", required=True, help="JSONL with problem and answer")
    parser.add_argument("--prompts", type=int, default=16, help="prompts per iteration")
    parser.add_argument("-n", type=int, default=8, help="completions per prompt")
    parser.add_argument("--max-new-tokens", type=int, default=180)
    parser.add_argument("--prompts-per-batch", type=int, default=16, help="prompts in one call of generate")
    parser.add_argument("--micro", type=int, default=32, help="completions per forward pass of the update")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "plain"], default="fused")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=11)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(loops.load_model(options.model),
                           LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=PROJECTIONS,
                                      task_type="CAUSAL_LM"))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = loops.adamw(parameters, options.rate, options.optimizer, betas=(0.9, 0.95), weight_decay=0.0)
    problems, tail = read_problems(options.model, options.problems, None)
    clock, rewards, kept_tokens = loops.Clock(options.warm_up), [], 0
    for step in range(options.steps):
        began = time.perf_counter()
        group = [problems[(step * options.prompts + i) % len(problems)] for i in range(options.prompts)]
        model.eval()
        model.merge_adapter()
        completions = sample(model, group, options)
        model.unmerge_adapter()
        sampled = time.perf_counter()
        of = [group[i // options.n] for i in range(len(completions))]
        scores = torch.tensor([reward(c, answer, tail) for c, (_, answer) in zip(completions, of)])
        grouped = scores.view(-1, options.n)
        advantages = ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)).view(-1)
        model.train()
        loss = update(model, parameters, optimizer, [prompt for prompt, _ in of], completions,
                      advantages.tolist(), options)
        rewards.append(scores.mean().item())
        clock.step(sum(len(p) + len(c) for c, (p, _) in zip(completions, of)), loss, sampling_seconds=sampled - began,
                   update_seconds=time.perf_counter() - sampled)
    clock.emit(first_reward=rewards[0], last_reward=rewards[-1])


if __name__ == "__main__":
    main()
