#!/usr/bin/env bash
# Runs every fuzz target for a while: fuzz/run-all.sh [SECONDS] [TARGET...].
#
# Needs `cargo install cargo-fuzz --locked`. The sanitizer flags are unstable;
# RUSTC_BOOTSTRAP=1 unlocks them on the stable toolchain. SANITIZER=none builds
# without AddressSanitizer and runs about twice as fast. Crashing inputs stay in
# fuzz/artifacts/TARGET; a target that fails does not keep the others from
# running, and the exit code is 1 if any did.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
export RUSTC_BOOTSTRAP=1
scratch=$(mktemp -d)
export TMPDIR=$scratch
trap 'rm -rf "$scratch"' EXIT

fuzz/seeds.sh
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
failed=()
for target in "${targets[@]}"; do
    printf '\n==> %s, %s s\n' "$target" "$seconds"
    log=$scratch/$target.log
    cargo fuzz run --sanitizer "${SANITIZER:-address}" "$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3072 -print_final_stats=1 \
        >"$log" 2>&1 || failed+=("$target")
    grep -E '^(error|Done|SUMMARY|ERROR|==[0-9]+== ?ERROR|stat::number_of|stat::peak)|panicked|Test unit written' "$log" || true
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all ${#targets[@]} targets ran $seconds s without a crash"
