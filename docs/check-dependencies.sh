#!/usr/bin/env bash
# Every direct dependency is used, has its line in docs/dependencies.md, no line
# is left over, and every package of the build has a licence of the list below.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0

# Names of the third-party entries of [workspace.dependencies].
named=$(awk '/^\[/ { in_section = ($0 == "[workspace.dependencies]") }
             in_section && /^[A-Za-z0-9_-]+ *=/ { sub(/ *=.*/, ""); print }' Cargo.toml |
    grep -v '^forkscope-' | sort)
explained=$(sed -n 's/^| `\([A-Za-z0-9_-]*\)` |.*/\1/p' docs/dependencies.md | sort)
while read -r name; do
    [ -z "$name" ] || { echo "docs/dependencies.md has no line for \`$name\`"; bad=1; }
done < <(comm -23 <(echo "$named") <(echo "$explained"))
while read -r name; do
    [ -z "$name" ] || { echo "docs/dependencies.md explains \`$name\`, which Cargo.toml does not have"; bad=1; }
done < <(comm -13 <(echo "$named") <(echo "$explained"))

while read -r name; do
    grep -qE "^$name(\.workspace)? *=" crates/*/Cargo.toml || { echo "no crate uses \`$name\`"; bad=1; }
done <<<"$named"

# A dependency that a crate takes without the workspace has no line to check.
if grep -nE '^[A-Za-z0-9_-]+ *= *("|\{ *version)' crates/*/Cargo.toml | grep -vE ':(name|description|version|edition|license|readme|rust-version|path) *='; then
    echo "the dependencies above are not declared in [workspace.dependencies]"
    bad=1
fi

# Every licence that any package of the build names, on whichever side of an OR,
# is one that lets anybody use, change and pass on the whole.
free='MIT|MIT-0|Apache-2\.0|LLVM-exception|BSD-2-Clause|BSD-3-Clause|ISC|Zlib|0BSD|Unlicense|CC0-1\.0|Unicode-3\.0|BSL-1\.0'
# Named and explained in docs/dependencies.md.
exceptions='option-ext MPL-2.0
webpki-roots CDLA-Permissive-2.0'
while IFS=$'\t' read -r package licence; do
    while read -r id; do
        grep -qxE "$free" <<<"$id" || grep -qxF "${package%% *} $id" <<<"$exceptions" || { echo "$package has the licence \"$licence\", of which \"$id\" is not on the list"; bad=1; }
    done < <(sed -E 's/[()]//g; s# (OR|AND|WITH) |/#\n#g' <<<"$licence" | sed 's/^ *//; s/ *$//')
done < <(cargo tree --workspace --locked --edges normal,build,dev --prefix none --format '{p}	{l}' |
    sed 's/ (\*)$//' | grep -vE '^(forkscope|$)' | sort -u)

[ "$bad" = 0 ] && echo "$(wc -l <<<"$named") direct dependencies, all explained"
exit "$bad"
