"""What the peer scripts share: rollouts, pair metrics in torch, process facts."""

import json
import os
import resource
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

STARTED = time.perf_counter()
TOP = 5


def read_rollouts(path):
    """The reference's rollout JSON, sorted as forkscope orders rows."""
    with open(path) as file:
        return json.load(file)["rollouts"]


def load_model(directory):
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def pair_metrics(base, tuned, tokens):
    """Every column of forkscope's diff from rows of logits [N, V] and the
    predicted ids [N]. p = tuned, b = base, f32 as a user would."""
    ln_b, ln_p = base.log_softmax(-1), tuned.log_softmax(-1)
    b, p = ln_b.exp(), ln_p.exp()
    difference = ln_p - ln_b
    ln_m = ((p + b) / 2).log_()
    at = tokens[:, None]
    base_at, tuned_at = base.gather(1, at), tuned.gather(1, at)
    logprob_base, logprob_tuned = ln_b.gather(1, at)[:, 0], ln_p.gather(1, at)[:, 0]
    top_base, top_tuned = ln_b.topk(TOP, -1), ln_p.topk(TOP, -1)
    argmax_base, argmax_tuned = base.argmax(-1), tuned.argmax(-1)
    promoted = base.gather(1, argmax_tuned[:, None])
    return {
        "entropy_base_nats": -(b * ln_b).sum(-1),
        "entropy_tuned_nats": -(p * ln_p).sum(-1),
        "kl_tuned_base_nats": (p * difference).sum(-1),
        "kl_base_tuned_nats": -(b * difference).sum(-1),
        "js_nats": ((p * (ln_p - ln_m)).sum(-1) + (b * (ln_b - ln_m)).sum(-1)) / 2,
        "tv": (p - b).abs().sum(-1) / 2,
        "ce_base_tuned_nats": -(b * ln_p).sum(-1),
        "delta_logprob": logprob_tuned - logprob_base,
        "logprob_base": logprob_base,
        "logprob_tuned": logprob_tuned,
        "rank_base": 1 + (base > base_at).sum(-1),
        "rank_tuned": 1 + (tuned > tuned_at).sum(-1),
        "argmax_base_id": argmax_base,
        "argmax_tuned_id": argmax_tuned,
        "base_rank_of_tuned_argmax": 1 + (base > promoted).sum(-1),
        "topk_base_ids": top_base.indices,
        "topk_base_logprobs": top_base.values,
        "topk_tuned_ids": top_tuned.indices,
        "topk_tuned_logprobs": top_tuned.values,
    }


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def emit(**facts):
    """The last line of stdout is the result."""
    facts["peak_rss_bytes"] = peak_rss_bytes()
    facts["threads"] = torch.get_num_threads()
    print(json.dumps(facts))
