#!/usr/bin/env python3
"""LoRA with transformers and peft on decision tokens alone: labels are -100
elsewhere, as users of `peft` write it.

`--head full` computes the logits of all positions (`model(...).loss`); `--head
decisions` takes the hidden states and multiplies by the head where a label is.
"""

import argparse

import loops
import torch
from torch.nn import functional as F


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSONL of token ids with weights")
    parser.add_argument("--head", choices=["full", "decisions"], default="full")
    parser.add_argument("--batch", type=int, default=4, help="sequences per optimiser step")
    parser.add_argument("--micro", type=int, default=4, help="sequences per forward pass")
    parser.add_argument("--checkpointing", action="store_true", help="transformers' gradient checkpointing")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "plain"], default="fused")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--alpha", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    from peft import LoraConfig, get_peft_model

    base = loops.load_model(options.model)
    base.config.use_cache = False
    if options.checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = get_peft_model(base, LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=0.0,
                                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
                                            task_type="CAUSAL_LM")).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = loops.adamw(parameters, options.rate, options.optimizer, weight_decay=0.0)
    examples = loops.read_examples(options.data)

    def loss_of(group, count):
        """Sum over the group's decision tokens / `count`. All sequences are of one length."""
        ids = torch.tensor([ids for ids, _ in group])
        weighted = torch.tensor([weights for _, weights in group]) > 0
        labels = ids.masked_fill(~weighted, loops.IGNORED)
        if options.head == "full":
            return model(input_ids=ids, labels=labels, num_items_in_batch=count).loss
        decoder = model.get_base_model()
        hidden = decoder.model(input_ids=ids).last_hidden_state[:, :-1]
        at = weighted[:, 1:]
        return F.cross_entropy(decoder.lm_head(hidden[at]), ids[:, 1:][at], reduction="sum") / count

    clock = loops.Clock(options.warm_up)
    for step in range(options.steps):
        begin = step * options.batch % len(examples)
        batch = examples[begin:begin + options.batch]
        count = sum(weight > 0 for _, weights in batch for weight in weights[1:])
        total = 0.0
        for start in range(0, len(batch), options.micro):
            loss = loss_of(batch[start:start + options.micro], count)
            loss.backward()
            total += loss.item()
            del loss
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.step(sum(len(ids) for ids, _ in batch), total)
    clock.emit(decisions_per_step=count, trainable=sum(p.numel() for p in parameters))


if __name__ == "__main__":
    main()
