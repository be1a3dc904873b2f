//! Examples of the lab's corpus as JSON Lines: `ids`, `prompt_len`, `text`,
//! `class`, `format`, `cue`, `author`, `refusal`, `correct`, `answer`.
//!
//! `cargo run --release -p forkscope-train --example lab_corpus -- --split test -n 5`
//! with `--seed S` (0), `--from I` (0) and `--ids-only`.

use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;

use forkscope_train::lab::corpus::Corpus;
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::words::text;
use serde_json::json;

struct Arguments {
    split: Split,
    seed: u64,
    from: u64,
    n: u64,
    ids_only: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        split: Split::Train,
        seed: 0,
        from: 0,
        n: 5,
        ids_only: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--ids-only" {
            arguments.ids_only = true;
            continue;
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let number = || {
            let parsed = value.parse::<u64>();
            parsed.map_err(|_| format!("{word} {value} is not a number it can take"))
        };
        match word.as_str() {
            "--split" => {
                let found = Split::ALL.into_iter().find(|split| split.name() == value);
                arguments.split = found.ok_or_else(|| {
                    format!("--split {value} is not train, validation, test or probe")
                })?;
            }
            "--seed" => arguments.seed = number()?,
            "--from" => arguments.from = number()?,
            "-n" => arguments.n = number()?,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(arguments)
}

fn print(arguments: &Arguments) -> std::io::Result<()> {
    let corpus = Corpus::new(arguments.seed, arguments.split);
    let mut out = BufWriter::new(stdout().lock());
    let examples = corpus.examples(arguments.from);
    for example in examples.take(usize::try_from(arguments.n).unwrap_or(usize::MAX)) {
        let mut line = json!({"ids": example.ids, "prompt_len": example.prompt_len});
        if !arguments.ids_only {
            let (problem, solution) = (&example.problem, &example.solution);
            line["id"] = json!(problem.id);
            line["text"] = json!(text(&example.ids));
            line["class"] = json!(problem.class);
            line["format"] = json!(problem.format);
            line["cue"] = json!(problem.cue.map(|cue| cue.wording().text));
            line["category"] = json!(problem.category());
            line["author"] = json!(solution.author);
            line["refusal"] = json!(solution.refusal);
            line["correct"] = json!(solution.correct);
            line["answer"] = json!(problem.answer_text());
        }
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn main() -> ExitCode {
    let done = arguments().and_then(|arguments| print(&arguments).map_err(|e| e.to_string()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}
