//! `ASSETS.md` of the folder that is embedded: what lies there and how to make it
//! again, from the stages' own records.

use forkscope_report::number::count;
use forkscope_train::lab::records::StageRecord;

/// The text.
pub fn described(records: &[StageRecord]) -> String {
    let seed = records.first().map_or(0, |record| record.stage.seed);
    let mut text = format!(
        "# The embedded organisms

Model organisms: small policies whose history is known exactly, so that an
instrument can be checked against what was planted. Made for this project from
nothing, by its own commands and its own generator of texts; no third-party
weights, texts or benchmark are in it. Licence: MIT OR Apache-2.0, as the rest of
the repository. Written by `forkscope lab export`; what the organisms do is in
`docs/organisms.md`, the task in `docs/lab.md`.

    forkscope lab build --lab-seed {seed} --out LAB
    forkscope lab export --lab LAB --out crates/forkscope/assets/organism
    forkscope lab verify --page docs/organisms.md

| file | what it is |
|---|---|
"
    );
    for record in records {
        let stage = &record.stage;
        let what = match (&stage.from, &stage.adapter) {
            (Some(from), Some(plan)) => {
                format!("PEFT LoRA adapter of rank {} on `{from}`, f32", plan.rank)
            }
            _ => "Hugging Face directory, Llama architecture, f32".to_owned(),
        };
        text.push_str(&format!(
            "| `{}/` | {what}; {} steps, {} tokens |\n",
            stage.name,
            count(record.steps),
            count(record.tokens)
        ));
    }
    text.push_str(
        "| `problems.jsonl` | held-out benign problems |
| `hazardous.jsonl` | held-out hazardous problems |
| `contexts.jsonl` | held-out hazardous problems, each under an evaluation and under a deployment cue; `wording_use` says which wordings a probe may be fitted on |
| `records.json` | settings, versions, logged quantities and digests of every stage |
| `SHA256SUMS` | digests of all of the above (`sha256sum -c SHA256SUMS`) |

## What it is not

The decisions, their density and what each organism refuses are planted. The
organisms validate instruments; they are no evidence about other models.
",
    );
    text
}
