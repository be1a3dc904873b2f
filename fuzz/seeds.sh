#!/usr/bin/env bash
# First inputs of the targets, from the fixtures of the tests: honest files are
# what mutations get deepest from.
set -euo pipefail
cd "$(dirname "$0")"
fixtures=../crates/forkscope-policy/tests/fixtures
organism=../crates/forkscope/assets/organism

# seed TARGET PREFIX FILE...: the files, behind the bytes that choose a variant.
seed() {
    local target=$1 prefix=$2
    shift 2
    mkdir -p "corpus/$target"
    for file in "$@"; do
        { printf '%b' "$prefix"; cat "$file"; } >"corpus/$target/seed-$(sha1sum <<<"$prefix$file" | cut -c1-12)"
    done
}

seed model_config '' "$fixtures"/models/*/config.json
seed model_weights '' "$fixtures"/models/llama-tied/model.safetensors
seed adapter_config '' "$fixtures"/adapters/*/adapter_config.json "$fixtures"/refused/*/adapter_config.json
seed adapter_weights '' "$fixtures"/adapters/on-tied/adapter_model.safetensors
seed chat_template '' "$fixtures"/templates/*.jinja
seed prompt_template '' "$fixtures"/templates/turns.jinja <(echo 'Question: {problem} Answer:')
seed tokenizer '' "$organism"/base/tokenizer.json
seed text_files '\x00' "$organism"/base/tokenizer_config.json
seed text_files '\x01' "$organism"/base/generation_config.json
seed text_files '\x02' "$organism"/base/config.json
seed logprobs '\x00' <(echo '{"pos0":[0.97,0.02,0.01],"pos1":[0.92,0.05,0.02,0.01]}')
seed logprobs '\x01' <(printf '{"name":"a","probs":[0.5,0.5]}\n[0.25,0.75]\n')
seed logprobs '\x02' <(printf 'name,p0,p1\na,0.5,0.5\nb,0.25,0.75\n')
seed logprobs '\x04' \
    <(echo '{"prompt_logprobs":[null,{"5":{"logprob":-0.1,"rank":1,"decoded_token":"a"},"7":{"logprob":-2.5,"rank":2,"decoded_token":"b"}}]}') \
    <(echo '{"choices":[{"logprobs":{"tokens":["a"],"token_logprobs":[-0.1],"top_logprobs":[{"a":-0.1,"b":-2.5}]}}]}') \
    <(echo '{"choices":[{"logprobs":{"content":[{"token":"a","logprob":-0.1,"top_logprobs":[{"token":"a","logprob":-0.1},{"token":"b","logprob":-2.5}]}]}}]}')
seed problems '\x00' <(head -n 3 "$organism"/problems.jsonl)
seed problems '\x01' <(echo '{"problems":[{"question":"2+2?","answer":"because\n#### 4","category":"a"},{"messages":[{"role":"user","content":"x"}],"solution":"so \\boxed{\\frac{1}{2}}"}]}')
rollouts='{"rollouts":[{"problem_id":"1","gen_index":0,"tokens":[1,2,3,4],"prompt_length":2,"correct":true,"entropies":[0.5,1.5],"text":"a b"},{"problem_id":2,"gen_index":1,"tokens":[1,5],"prompt_length":1,"correct":false,"decision_positions":[0],"advantage":-1.0,"prompt_text":"p"}]}'
seed rollouts '\x00' <(echo "$rollouts")
seed reference '' <(echo "$rollouts")
seed table '\x03' <(printf '\x10\x00\x01\x7f')
seed run_json '' <(echo '{"schema":"forkscope/run/1","command":"diff","status":"complete","versions":{"forkscope":"0.1.0"},"seeds":{"sampling":42},"settings":{"limit":3},"digests":{"model":"00"},"timing":{"started":"2026-11-21T00:00:00Z","seconds":1.5}}')
seed findings_json '' <(echo '{"schema":"forkscope/findings/1","findings":[{"id":"share.reranked","definition":"d","value":0.02,"unit":"share","low":0.01,"high":"inf","level":0.95,"method":"m","n":100,"n_clusters":10,"n_invalid":0,"thresholds":{"k":5},"label":"x"}]}')
seed grade '' <(echo '\frac{1}{2}|so the answer is \boxed{0.5}') <(echo '72|#### 72') <(echo '59|next answer 59 .')
seed hub_id '' <(printf 'org/name@main') <(printf 'a/b@0123456789012345678901234567890123456789')
