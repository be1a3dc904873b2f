#!/usr/bin/env python3
"""Pretraining from a config with torch: batches of whole documents padded to
the longest, next-token loss on all tokens, AdamW, gradient norm clipped at 1.

`--writing transformers` is LlamaForCausalLM with `model(...).loss`; `lean` is
the decoder written out in torch for this shape, which a user who cares for
speed at this size would do.
"""

import argparse
import signal

import lean_decoder
import loops
import torch


def transformers_model(config):
    from transformers import AutoConfig, AutoModelForCausalLM
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config), attn_implementation="sdpa",
                                            dtype=torch.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="directory with config.json")
    parser.add_argument("--corpus", required=True, help="JSONL of token ids")
    parser.add_argument("--writing", choices=["transformers", "lean"], default="transformers")
    parser.add_argument("--mask", choices=["on", "off"], default="on",
                        help="hand over the attention mask; right padding under causal attention needs none")
    parser.add_argument("--order", choices=["sorted", "random"], default="sorted")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "plain"], default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile with dynamic shapes")
    parser.add_argument("--keep-memory", action="store_true", help="glibc keeps freed blocks")
    parser.add_argument("--give-up-s", type=int, default=0, help="end without a result after so many seconds")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warm-up", type=int, default=5, help="steps that are not timed")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.keep_memory:
        loops.keep_memory()
    signal.alarm(options.give_up_s)
    rows = [ids for ids, _ in loops.read_examples(options.corpus)]
    lean = options.writing == "lean"
    model = lean_decoder.Decoder(options.config) if lean else transformers_model(options.config)
    model.train()
    parameters = list(model.parameters())
    optimizer = loops.adamw(parameters, options.rate, options.optimizer, betas=(0.9, 0.98), weight_decay=0.05)
    forward = torch.compile(model, dynamic=True) if options.compile else model

    def loss_of(ids, lengths):
        real = torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]
        labels = ids.masked_fill(~real, loops.IGNORED)
        if lean:
            logits = forward(ids[:, :-1])
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        mask = real.long() if options.mask == "on" else None
        return forward(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss

    planned = []
    while len(planned) < options.steps:
        planned += loops.batches([len(row) for row in rows], options.batch, options.order, len(planned))
    if options.compile:
        # Compiled for all lengths before the clock starts, without a step.
        shapes = sorted(planned, key=lambda chosen: max(len(rows[i]) for i in chosen))
        for chosen in (shapes[0], shapes[-1], shapes[len(shapes) // 2]):
            group = [rows[i] for i in chosen]
            loss_of(loops.padded(group, 0), [len(row) for row in group]).backward()
        optimizer.zero_grad()
    clock, padding = loops.Clock(options.warm_up), 0
    for chosen in planned[:options.steps]:
        group = [rows[i] for i in chosen]
        ids = loops.padded(group, 0)
        loss = loss_of(ids, [len(row) for row in group])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.step(sum(map(len, group)), loss.item())
        padding += ids.numel() - sum(map(len, group))
    clock.emit(padded_tokens=padding, parameters=sum(p.numel() for p in parameters))


if __name__ == "__main__":
    main()
