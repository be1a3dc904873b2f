#!/usr/bin/env python3
"""A random-weight pair of Qwen2.5-0.5B's shape (494 M parameters, f32, 2 GB
each) and eight 256-token rollouts. tuned = base + small noise."""

import argparse
import json
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

SHAPE = dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
             num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768,
             rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
             tie_word_embeddings=True, use_sliding_window=False)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--layers", type=int, default=24)
    options = parser.parse_args()
    random = torch.Generator().manual_seed(7)
    model = Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "num_hidden_layers": options.layers})).float()
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1.0)
        else:
            parameter.normal_(0, 0.05 if "embed" in name else 0.02, generator=random)
    model.save_pretrained(options.out / "base")
    for parameter in model.parameters():
        parameter.add_(torch.empty_like(parameter).normal_(0, 0.0005, generator=random))
    model.save_pretrained(options.out / "tuned")
    rollouts = [{"problem_id": f"random/{i}", "gen_index": 0, "prompt_length": 32, "correct": None,
                 "tokens": torch.randint(0, SHAPE["vocab_size"], (256,), generator=random).tolist()}
                for i in range(8)]
    (options.out / "rollouts.json").write_text(json.dumps({"rollouts": rollouts}))


if __name__ == "__main__":
    main()
