//! A real language model, which is a third party's and not in the repository:
//! `FORKSCOPE_STORIES260K=DIR cargo test -p forkscope-policy --test stories`
//! with llama2.c's stories260K in the Hugging Face layout (v4 configuration,
//! sentencepiece-style tokenizer).

use forkscope_policy::text::{Prompt, PromptStyle, TemplateInputs};
use forkscope_policy::{Policy, SamplePrompt, SampleSettings, Sampling};

#[test]
fn stories260k_goes_on_as_it_should() {
    let Ok(dir) = std::env::var("FORKSCOPE_STORIES260K") else {
        eprintln!("skipped: FORKSCOPE_STORIES260K names no model directory");
        return;
    };
    let policy = Policy::open(&dir).unwrap();
    let text = policy.text().unwrap();
    let story = "Once upon a time, there was a little girl named Lily.";
    let rendered = text
        .render(
            &PromptStyle::Raw,
            Prompt::Text(story),
            &TemplateInputs::default(),
        )
        .unwrap();
    let prompt = SamplePrompt {
        problem_id: "story".into(),
        ids: rendered.token_ids,
        stop: vec![],
        eos: vec![],
    };
    let settings = SampleSettings {
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        n: 1,
        max_tokens: 40,
        seed: 0,
        skip: 0,
        max_len: usize::MAX,
        interrupted: || false,
        width: None,
    };
    let mut said = String::new();
    let mut done = |c: forkscope_policy::Completion| {
        said = text.tokenizer.decode(&c.ids, true);
        true
    };
    policy.sample(&[prompt], &settings, &mut done).unwrap();
    let expected = "She loved to play outside in the park. One day, she saw a big, red ball.";
    assert!(said.starts_with(expected), "{said}");
}
