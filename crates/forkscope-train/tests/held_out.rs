//! Held-out accuracy of the embedded pair: repeatable, graded, interruptible.

use std::path::{Path, PathBuf};

use forkscope_metrics::stats::BootstrapSettings;
use forkscope_policy::text::{Prompt, PromptStyle, TemplateInputs};
use forkscope_policy::{Policy, SamplePrompt, SampleSettings, Sampling};
use forkscope_records::read_problems;
use forkscope_records::types::{Problem, ProblemPrompt};
use forkscope_tasks::Verifier;
use forkscope_train::{HeldOutSettings, TrainError, evaluate};

fn organism() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../forkscope/assets/organism")
}

fn problems(n: usize) -> Vec<Problem> {
    let mut problems = read_problems(&organism().join("problems.jsonl")).unwrap();
    problems.truncate(n);
    problems
}

fn prompts(policy: &Policy, problems: &[Problem]) -> Vec<SamplePrompt> {
    let text = policy.text().unwrap();
    let prompt = |p: &Problem| {
        let ProblemPrompt::Text(asked) = &p.prompt else {
            panic!("the organism's problems are texts")
        };
        let inputs = TemplateInputs::default();
        let rendered = text.render(&PromptStyle::Raw, Prompt::Text(asked), &inputs);
        SamplePrompt {
            problem_id: p.id.clone(),
            ids: rendered.unwrap().token_ids,
            stop: Vec::new(),
            eos: text.special.eos.clone(),
        }
    };
    problems.iter().map(prompt).collect()
}

fn settings(interrupted: fn() -> bool) -> HeldOutSettings {
    HeldOutSettings {
        sampler: SampleSettings {
            sampling: Sampling {
                temperature: 1.0,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
            },
            n: 4,
            max_tokens: 128,
            seed: 3,
            skip: 0,
            max_len: usize::MAX,
            interrupted,
            width: None,
        },
        verifier: Verifier::Auto,
        bootstrap: BootstrapSettings::default(),
    }
}

#[test]
fn the_tuned_policy_does_better_on_the_same_problems() {
    let base = Policy::open(organism().join("base").to_str().unwrap()).unwrap();
    let pair = organism();
    let spec = format!(
        "{}+{}",
        pair.join("base").display(),
        pair.join("reasoner").display()
    );
    let tuned = Policy::open(&spec).unwrap();
    let problems = problems(12);
    let prompts = prompts(&base, &problems);
    let settings = settings(|| false);
    let of_base = evaluate(&base, &prompts, &problems, &settings).unwrap();
    let of_tuned = evaluate(&tuned, &prompts, &problems, &settings).unwrap();
    assert!(
        of_tuned.pass_at_1 > of_base.pass_at_1 + 0.1,
        "{of_base:?} {of_tuned:?}"
    );
    assert_eq!((of_base.n, of_base.n_problems), (48, 12));
    let interval = of_base.interval.unwrap();
    assert!(interval.low <= of_base.pass_at_1 && of_base.pass_at_1 <= interval.high);
    assert!(of_base.tokens_per_answer > 10.0);
    assert_eq!(
        evaluate(&base, &prompts, &problems, &settings).unwrap(),
        of_base
    );
}

#[test]
fn an_interrupt_is_no_result() {
    let base = Policy::open(organism().join("base").to_str().unwrap()).unwrap();
    let problems = problems(2);
    let prompts = prompts(&base, &problems);
    let found = evaluate(&base, &prompts, &problems, &settings(|| true));
    assert!(matches!(found, Err(TrainError::Interrupted)), "{found:?}");
}
