#!/usr/bin/env python3
"""forkscope against plain PyTorch + transformers on this machine.

    benchsuite/run.py small  --pair DIR --problems FILE    the embedded pair, 800 rollouts
    benchsuite/run.py big                                  Qwen2.5-0.5B's shape, random weights
    benchsuite/run.py kernel                               the pair metrics alone
    benchsuite/run.py sample --pair DIR --problems FILE    sampling
    benchsuite/run.py train-pretrain | train-lora | train-grpo | train-ops
    benchsuite/run.py train-reasonmaxxer --checkout DIR    the published trainer
    benchsuite/run.py score-entropies                      the published scoring

Makes benchsuite/venv on first use (--python names another interpreter),
repeats every measurement and writes benchsuite/runs/DATE-NAME.json. See
README.md.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from train import bench, reasonmaxxer
from train.bench import median, ratio

BENCHES = {**bench.BENCHES, **reasonmaxxer.BENCHES}

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def busy_seconds():
    """CPU seconds that the machine has spent on anything since it started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, open("/proc/stat").readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measured(command):
    """Runs a command: wall seconds, peak resident bytes (ru_maxrss, mapped file
    pages included, for both sides alike), its stdout's last line, and the share
    of the cores that other processes used meanwhile."""
    busy = busy_seconds()
    began = time.perf_counter()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} ended with {child.returncode}:\n{output}")
    lines = output.strip().splitlines()
    cpu = usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_seconds() - busy - cpu) / wall / os.cpu_count()
    return {"wall_s": wall, "peak_rss_bytes": usage.ru_maxrss * 1024, "cpu_s": cpu,
            "others_share_of_cores": round(others, 4), "last_line": lines[-1] if lines else ""}


def big_flop(rollouts):
    """Floating-point operations of the products with weights that a diff of the
    big pair needs: layers at every token but the last, head at completion
    positions, both models. Attention scores and metrics are left out."""
    hidden, keys, inner, layers, vocabulary = 896, 128, 4864, 24, 151936
    layer = 2 * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner)
    tokens = sum(len(r["tokens"]) - 1 for r in rollouts)
    positions = sum(len(r["tokens"]) - r["prompt_length"] for r in rollouts)
    return 2 * (tokens * layers * layer + positions * 2 * hidden * vocabulary)


class Suite:
    def __init__(self, options):
        self.options = options
        self.python = options.python or self.venv()
        self.data = options.data or HERE / "data"
        self.data.mkdir(exist_ok=True)
        self.commands = []

    def venv(self):
        python = HERE / "venv" / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", HERE / "venv"], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        return python

    def binary(self):
        if self.options.forkscope:
            return self.options.forkscope
        subprocess.run(["cargo", "build", "--release", "-p", "forkscope"], cwd=ROOT, check=True)
        return self.target() / "release" / "forkscope"

    def target(self):
        return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

    def quiet(self, once):
        """Repeats a measurement until others leave the cores alone; the
        quietest of `--patience` tries where they never do."""
        tries = []
        for _ in range(max(1, self.options.patience)):
            tries.append(once())
            if tries[-1]["others_share_of_cores"] <= self.options.quiet:
                break
        return {**min(tries, key=lambda run: run["others_share_of_cores"]), "tries": len(tries)}

    def record(self, command):
        """The command with places of this machine taken out."""
        words = " ".join(Path(str(w)).name if Path(str(w)).is_absolute() else str(w) for w in command)
        if words not in self.commands:
            self.commands.append(words)

    def peer(self, script, *flags):
        command = [self.python, HERE / script, *flags, "--threads", self.options.threads]
        self.record(command)
        run = self.run_quietly(command)
        facts = json.loads(run.pop("last_line"))
        return {**run, "facts": facts}

    def forkscope(self, command, *flags, out):
        """One fresh run; `timing` of its run.json comes back with it."""
        line = [self.binary(), command, *flags, "--out", out, "--threads", self.options.threads]
        self.record(line)

        def once():
            if out.exists():
                shutil.rmtree(out)
            return measured(line)

        run = self.quiet(once)
        run.pop("last_line")
        run["timing"] = json.loads((out / "run.json").read_text()).get("timing", {})
        return run

    def run_quietly(self, command):
        return self.quiet(lambda: measured(command))

    def script(self, name, *flags):
        command = [self.python, HERE / name, *flags]
        self.record(command)
        return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout

    def diff(self, base, tuned, rollouts, batches, variants, out):
        """Both sides of one diff: the peer's variants, then forkscope, then the comparison."""
        flags = ["--base", base, "--tuned", tuned, "--rollouts", rollouts]
        result = {"peer": {}, "forkscope": []}
        wanted = self.options.variants.split(",") if self.options.variants else list(variants)
        variants = {name: variants[name] for name in wanted}
        for name, variant in variants.items():
            place = self.data / f"{out}-peer-{name}"
            tried = self.peer("diff_peer.py", *flags, *variant, "--batch", batches, "--tune-only", "--out", place)
            best = tried["facts"]["batch"]
            runs = [self.peer("diff_peer.py", *flags, *variant, "--batch", best, "--out", place)
                    for _ in range(self.options.repeats)]
            result["peer"][name] = {"tried_s": tried["facts"]["tried_s"], "batch": best, "runs": runs}
        if not self.options.peer_only:
            place = self.data / f"{out}-forkscope"
            result["forkscope"] = [self.forkscope("diff", *flags, out=place) for _ in range(self.options.repeats)]
            first = next(iter(variants))
            result["same_numbers"] = json.loads(self.script(
                "compare_runs.py", place / "tokens.parquet", self.data / f"{out}-peer-{first}" / "tokens.parquet"))
        result["summary"] = self.summary(result)
        return result

    def summary(self, result):
        ours = result["forkscope"]
        wall, score = median(ours, "wall_s"), median(ours, "timing", "parts", "score_s")
        rss = median(ours, "peak_rss_bytes")
        table = {"forkscope": {"total_s": wall, "score_s": score, "peak_rss_bytes": rss,
                               "rows_and_findings_s": wall - score if wall and score else None}}
        for name, variant in result["peer"].items():
            runs = variant["runs"]
            total, scoring = median(runs, "wall_s"), median(runs, "facts", "score_s")
            memory = median(runs, "peak_rss_bytes")
            table[f"peer {name}"] = {"batch": variant["batch"], "total_s": total, "score_s": scoring,
                                     "positions_per_s": median(runs, "facts", "positions_per_s"),
                                     "peak_rss_bytes": memory}
            table[f"forkscope is better than peer {name} by"] = {
                "total": ratio(total, wall), "score": ratio(scoring, score), "memory": ratio(memory, rss)}
        return table

    def small(self):
        pair = self.options.pair
        rollouts = self.rollouts()
        variants = {"plain": [], "no-mask": ["--mask", "off"], "head-on-rows": ["--mask", "off", "--head", "rows"]}
        return self.diff(pair / "base", pair / "reasoner", rollouts, "8,16,32,64,128,256", variants, "small")

    def rollouts(self):
        """800 rollouts of the base on 40 problems, sampled once and kept."""
        path = self.data / "rollouts.json"
        if not path.exists():
            self.script("sample_peer.py", "--model", self.options.pair / "base", "--problems", self.options.problems,
                        "--limit", 40, "--prompts-per-batch", 40, "--out", path)
        return path

    def big(self):
        place = self.data / "big"
        if not (place / "rollouts.json").exists():
            self.script("make_big_pair.py", "--out", place)
        variants = {"plain": [], "head-on-rows": ["--mask", "off", "--head", "rows"]}
        result = self.diff(place / "base", place / "tuned", place / "rollouts.json", "1,2,4,8", variants, "big")
        gemm = median([self.peer("metrics_peer.py", "--machine-only")], "facts", "gemm_flop_per_s")
        work = big_flop(json.loads((place / "rollouts.json").read_text())["rollouts"])
        score = result["summary"]["forkscope"]["score_s"]
        result["summary"]["matrix products"] = {
            "flop": work, "torch_gemm_flop_per_s": gemm,
            "forkscope_share_of_torch_gemm_rate": work / score / gemm if score else None}
        return result

    def kernel(self):
        peers = [self.peer("metrics_peer.py", "--rows", self.options.rows) for _ in range(self.options.repeats)]
        ours = []
        if not self.options.peer_only:
            command = ["cargo", "run", "--release", "-q", "-p", "forkscope-metrics", "--example", "kernel_bench", "--",
                       "--rows", self.options.rows, "--vocab", 151936, "--threads", self.options.threads, "--json"]
            self.record(command)
            os.chdir(ROOT)
            measured(command)
            ours = [json.loads(self.run_quietly(command)["last_line"]) for _ in range(self.options.repeats)]
        theirs, mine = median(peers, "facts", "rows_per_s"), median(ours, "pair_rows_per_s")
        bandwidth = median(peers, "facts", "read_bytes_per_s")
        return {"peer": peers, "forkscope": ours, "summary": {
            "peer_rows_per_s": theirs, "forkscope_rows_per_s": mine, "ratio": ratio(mine, theirs),
            "torch_read_bytes_per_s": bandwidth, "torch_gemm_flop_per_s": median(peers, "facts", "gemm_flop_per_s"),
            "forkscope_share_of_read_bandwidth": median(ours, "pair_share_of_read_bandwidth")}}

    def sample(self):
        options = self.options
        flags = ["--model", options.pair / "base", "--problems", options.problems, "--limit", 40, "-n", 20]
        tried = self.peer("sample_peer.py", *flags)
        best = tried["facts"]["prompts_per_batch"]
        peers = [self.peer("sample_peer.py", *flags, "--prompts-per-batch", best) for _ in range(options.repeats)]
        ours = []
        for seed in range(0 if options.peer_only else options.repeats):
            out = self.data / "sample-forkscope"
            run = self.forkscope("sample", *flags, "--temperature", 1, "--top-p", 1, "--max-tokens", 160,
                                 "--seed", seed, out=out)
            count = ("import sys, pyarrow.parquet as p; t = p.read_table(sys.argv[1]).to_pylist();"
                     "print(sum(len(r['token_ids']) - r['prompt_len'] for r in t))")
            tokens = int(subprocess.run([self.python, "-c", count, out / "rollouts.parquet"], check=True,
                                        stdout=subprocess.PIPE, text=True).stdout)
            # The whole process against the peer's loop alone.
            ours.append({**run, "tokens": tokens, "tokens_per_s": tokens / run["wall_s"]})
        theirs, mine = median(peers, "facts", "tokens_per_s"), median(ours, "tokens_per_s")
        return {"tried": tried, "peer": peers, "forkscope": ours, "summary": {
            "peer_tokens_per_s": theirs, "forkscope_tokens_per_s": mine, "ratio": ratio(mine, theirs)}}


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "unknown")
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) * 1024
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_bytes": memory, "kernel": platform.release().split("-")[0],
            "system": platform.system(), "load_average": os.getloadavg()}


def versions(python):
    names = "torch transformers peft numpy pyarrow tokenizers".split()
    code = "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in %r}))" % names
    found = json.loads(subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout)
    found["python"] = platform.python_version()
    for name, command in {"rustc": ["rustc", "-V"], "forkscope": ["git", "-C", ROOT, "rev-parse", "HEAD"]}.items():
        found[name] = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["small", "big", "kernel", "sample", *BENCHES])
    parser.add_argument("--pair", type=Path, help="directory with base/ and reasoner/")
    parser.add_argument("--problems", type=Path, help="JSONL with id and problem")
    parser.add_argument("--forkscope", type=Path, help="the binary; built with cargo where absent")
    parser.add_argument("--python", type=Path, help="an interpreter that has requirements.txt installed")
    parser.add_argument("--data", type=Path, help="where models and outputs are put (default benchsuite/data)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quiet", type=float, default=0.03, help="share of the cores that others may use meanwhile")
    parser.add_argument("--patience", type=int, default=3, help="tries for a quiet measurement")
    parser.add_argument("--rows", type=int, default=256, help="rows of `kernel`")
    parser.add_argument("--steps", type=int, help="timed steps of the training benchmarks")
    parser.add_argument("--corpus", type=Path, help="JSONL of token ids for train-pretrain")
    parser.add_argument("--variants", help="writings of the peer to try, comma-separated (default all)")
    parser.add_argument("--checkout", type=Path, help="the code of arXiv 2605.06241 (train-reasonmaxxer)")
    parser.add_argument("--quick", action="store_true", help="small sizes of these two; nothing is recorded")
    parser.add_argument("--peer-only", action="store_true")
    options = parser.parse_args()
    if options.name in ("small", "sample") and not (options.pair and options.problems):
        parser.error(f"{options.name} needs --pair DIR and --problems FILE")
    if options.checkout:
        options.checkout = options.checkout.resolve()
    suite = Suite(options)
    before = machine()
    result = BENCHES[options.name](suite) if options.name in BENCHES else getattr(suite, options.name)()
    record = {"name": options.name, "date": datetime.date.today().isoformat(), "threads": options.threads,
              "repeats": options.repeats, "machine": before, "load_average_after": os.getloadavg(),
              "versions": versions(suite.python), "commands": suite.commands, **result}
    path = HERE / "runs" / f"{record['date']}-{options.name}{'-peer' if options.peer_only else ''}.json"
    if not options.quick:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["summary"], indent=1))


if __name__ == "__main__":
    main()
