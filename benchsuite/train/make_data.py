#!/usr/bin/env python3
"""Data of the training benchmarks.

`corpus`: documents of token ids from rollouts, shuffled, one a line.
`decisions`: random sequences for the LoRA benchmark, of which a share of the
tokens, drawn at random, carries the loss.
Both in the format of token ids that `forkscope train` reads.
"""

import argparse
import json
import random


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["corpus", "decisions"])
    parser.add_argument("--rollouts", help="the reference's rollout JSON (corpus)")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=151936)
    parser.add_argument("--share", type=float, default=0.05, help="share of the tokens that carry the loss")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    draw = random.Random(3)
    if options.kind == "corpus":
        with open(options.rollouts) as file:
            examples = [{"prompt_ids": [], "completion_ids": row["tokens"]} for row in json.load(file)["rollouts"]]
        draw.shuffle(examples)
    else:
        examples = []
        for _ in range(options.sequences):
            chosen = set(draw.sample(range(1, options.length), round(options.share * options.length)))
            ids = [draw.randrange(options.vocab) for _ in range(options.length)]
            examples.append({"prompt_ids": [], "completion_ids": ids,
                             "completion_weights": [float(t in chosen) for t in range(options.length)]})
    with open(options.out, "w") as file:
        for example in examples:
            file.write(json.dumps(example) + "\n")


if __name__ == "__main__":
    main()
