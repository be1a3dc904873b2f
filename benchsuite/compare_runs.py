#!/usr/bin/env python3
"""Are forkscope's tokens.parquet and the peer's the same numbers?"""

import argparse
import json

import numpy as np
import pyarrow.parquet

FLOATS = ["entropy_base_nats", "entropy_tuned_nats", "kl_tuned_base_nats", "kl_base_tuned_nats", "js_nats", "tv",
          "ce_base_tuned_nats", "delta_logprob", "logprob_base", "logprob_tuned"]
EXACT = ["t", "token_id", "rank_base", "rank_tuned", "argmax_base_id", "argmax_tuned_id",
         "base_rank_of_tuned_argmax", "class"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ours")
    parser.add_argument("theirs")
    options = parser.parse_args()
    ours, theirs = (pyarrow.parquet.read_table(path) for path in (options.ours, options.theirs))
    result = {"rows": [ours.num_rows, theirs.num_rows], "max_abs_difference": {}, "share_equal": {}}
    if ours.num_rows == theirs.num_rows:
        for name in FLOATS:
            a, b = (np.asarray(t[name].to_pylist(), dtype=np.float64) for t in (ours, theirs))
            result["max_abs_difference"][name] = float(np.abs(a - b).max())
        for name in EXACT:
            a, b = (t[name].to_pylist() for t in (ours, theirs))
            result["share_equal"][name] = sum(x == y for x, y in zip(a, b)) / len(a)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
