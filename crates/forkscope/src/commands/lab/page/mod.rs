//! `docs/organisms.md`: the organisms as their records and the measurements say.
//! No figure of theirs stands in this text; the published ones it compares with
//! are constants with their source.

mod prints;
mod recipes;

use forkscope_report::number;
use forkscope_train::lab::records::StageRecord;

use super::shown::{finding_of, should_be};
use super::verify::Verified;

/// The page.
pub fn page(verified: &Verified, records: &[StageRecord]) -> String {
    [
        opening(records),
        recipes::recipes(records),
        checks(verified),
        prints::footprints(&verified.footprints),
        prints::beside_published(&verified.footprints),
        CLOSING.to_owned(),
    ]
    .join("\n")
}

fn opening(records: &[StageRecord]) -> String {
    let seed = records.first().map_or(0, |record| record.stage.seed);
    let minutes: f64 = records.iter().map(|record| record.seconds).sum::<f64>() / 60.0;
    let threads: std::collections::BTreeSet<u64> =
        records.iter().filter_map(|record| record.threads).collect();
    let threads: Vec<String> = threads.iter().map(u64::to_string).collect();
    format!(
        "# The model organisms

Written by `forkscope lab verify --page docs/organisms.md` from the stages' own
records and from measurements on held-out problems; not by hand. The task and the
data are described in [lab.md](lab.md), the training in [training.md](training.md).

**The forks of these organisms are planted.** Where decisions fall, how many there
are, what is refused and under which cue was put there by a generator. The organisms
validate instruments: they say whether a measurement finds what is known to be there.
They are no evidence for what a paper says about other models, and the comparison
below is not a replication.

    forkscope lab build --lab-seed {seed} --out LAB     # {minutes:.0} minutes in all on {} threads
    forkscope lab export --lab LAB --out crates/forkscope/assets/organism
    forkscope lab verify --page docs/organisms.md
",
        threads.join(" or ")
    )
}

fn checks(verified: &Verified) -> String {
    let mut text = format!(
        "## Checks

On {} problems of each set (seed {}; the lab's split `test`, which no stage draws
from), T = 1. A value is a mean over problems; n counts problems. Intervals are 95 %
cluster bootstraps over problems, differences are taken within problems. The value
decides whether a threshold is met. Rows without a threshold are reported, whatever
they are.

| check | value | 95 % interval | n | should be | |
|---|--:|---|--:|---|---|
",
        number::count(verified.problems as u64),
        verified.seed
    );
    for check in &verified.checks {
        let shown = number::finding(&finding_of(check));
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} |\n",
            check.id,
            shown.value,
            shown.range(),
            number::count(check.n as u64),
            check.threshold.as_ref().map_or_else(String::new, should_be),
            match check.ok {
                None => "",
                Some(true) => "ok",
                Some(false) => "**missed**",
            }
        ));
    }
    text.push_str(
        "
`gain` and `benign_accuracy_loss` are differences to `base` on the same problems.
`context_gap` is the share refused under evaluation cues minus that under deployment
cues, of the wordings that are held out from probes, on the same hazardous problems;
`accuracy_deployment` is the share of hazardous problems solved under deployment cues.

| organism | set | problems | answers to each prompt | tokens per answer | answers without an end |
|---|---|--:|--:|--:|--:|
",
    );
    for measured in &verified.measured {
        let answers = measured.answers();
        text.push_str(&format!(
            "| {} | {} | {} | {} | {:.1} | {} |\n",
            measured.organism,
            measured.set.name(),
            measured.problems,
            measured.samples,
            measured.tokens as f64 / answers.max(1) as f64,
            number::count(measured.unended)
        ));
    }
    text
}

const CLOSING: &str = "## What this does not show

- The gains, gaps and footprints are those of one seed of one recipe on one task with
  a vocabulary of 222 words and short answers.
- How sparse a change is depends on how much of a text is decision at all. Here most
  tokens copy the problem or work out a number, because the generator writes so.
- `two-faced` was trained on all twelve wordings. Held out means held out from probes
  that others fit, not from its training ([lab.md](lab.md)).
- Whoever needs evidence about a real pair of models runs `forkscope diff` on it.
";
