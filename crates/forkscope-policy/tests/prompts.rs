//! The text side of a model directory, and prompt styles.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use forkscope_policy::text::{
    Message, Prompt, PromptStyle, PromptTemplate, SpecialTokens, TemplateInputs, TextSide,
};

type Files = BTreeMap<&'static str, String>;

fn files(more: &[(&'static str, &str)]) -> Files {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/bytes.json");
    let mut files: Files = BTreeMap::new();
    files.insert("tokenizer.json", std::fs::read_to_string(path).unwrap());
    files.extend(more.iter().map(|&(name, text)| (name, text.to_owned())));
    files
}

fn open(files: &Files) -> Result<TextSide, forkscope_policy::PolicyError> {
    TextSide::from_files(Path::new("m"), |name| {
        Ok(files.get(name).map(|text| Cow::Borrowed(text.as_bytes())))
    })
    .map(Option::unwrap)
}

const CHAT: &str = r#"{"bos_token": {"content": "<s>", "special": true}, "eos_token": "<|end|>",
    "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% if enable_thinking is defined and not enable_thinking %} no thoughts{% endif %}{% endif %}"}"#;

#[test]
fn end_tokens_come_from_every_file() {
    let read = |more: &[(&'static str, &str)]| open(&files(more)).map(|side| side.special);
    let tokens = |bos, eos: &[u32], pad| SpecialTokens {
        bos,
        eos: eos.to_vec(),
        pad,
    };
    assert_eq!(read(&[]).unwrap(), tokens(None, &[], None));
    let config = (
        "config.json",
        r#"{"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": -1}"#,
    );
    assert_eq!(read(&[config]).unwrap(), tokens(Some(1), &[2], None));
    let generation = (
        "generation_config.json",
        r#"{"eos_token_id": [7, 5, 7], "pad_token_id": 0}"#,
    );
    assert_eq!(
        read(&[config, generation]).unwrap(),
        tokens(Some(1), &[5, 7], Some(0))
    );
    let named = ("tokenizer_config.json", CHAT);
    assert_eq!(
        read(&[config, named]).unwrap(),
        tokens(Some(1), &[2, 3], None)
    );
    assert_eq!(
        read(&[named, generation]).unwrap(),
        tokens(Some(1), &[3, 5, 7], Some(0))
    );
    for bad in [
        r#"{"eos_token_id": "x"}"#,
        r#"{"eos_token_id": 1.5}"#,
        r#"{"eos_token_id": -7}"#,
    ] {
        let error = read(&[("generation_config.json", bad)])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("m/generation_config.json: eos_token_id is "),
            "{error}"
        );
    }
    let error = read(&[("config.json", "{")]).unwrap_err().to_string();
    assert!(error.starts_with("m/config.json: not JSON"), "{error}");
}

fn render(side: &TextSide, style: &str, text: &str) -> forkscope_policy::text::RenderedPrompt {
    let style: PromptStyle = style.parse().unwrap();
    side.render(&style, Prompt::Text(text), &TemplateInputs::default())
        .unwrap()
}

#[test]
fn the_default_is_the_chat_template_if_there_is_one() {
    let plain = open(&files(&[])).unwrap();
    let prompt = render(&plain, "auto", "the cat");
    assert_eq!(
        (prompt.style.as_str(), prompt.text.as_str()),
        ("raw", "the cat")
    );
    assert!(prompt.add_special_tokens && prompt.template_hash.is_none());
    assert_eq!(
        prompt.token_ids,
        plain.tokenizer.encode("the cat", true).unwrap()
    );
    assert_eq!(prompt.token_ids[0], 1);

    let chat = open(&files(&[("tokenizer_config.json", CHAT)])).unwrap();
    let prompt = render(&chat, "auto", "the cat");
    assert_eq!(prompt.text, "<s>[user] the cat<|end|>[assistant]");
    assert_eq!(prompt.style, "chat");
    assert_eq!(
        prompt.template_hash,
        chat.template.as_ref().map(|t| t.hash())
    );
    // The template has written <s>; the tokenizer adds no second one.
    assert!(!prompt.add_special_tokens);
    assert_eq!(prompt.token_ids.iter().filter(|&&id| id == 1).count(), 1);
    assert_eq!(render(&chat, "raw", "the cat").text, "the cat");
}

#[test]
fn families_have_prompts_of_their_own() {
    let side = open(&files(&[("tokenizer_config.json", CHAT)])).unwrap();
    let base = render(&side, "qwen-base", "How many {pens}?");
    assert!(
        base.text
            .ends_with("Problem: How many {pens}?\n\nSolution:"),
        "{}",
        base.text
    );
    assert!(base.text.contains("\\boxed{}"));
    assert!(base.add_special_tokens && base.template_hash.is_some());
    assert!(base.stop.iter().any(|stop| stop == "\nProblem:"));
    let math = render(&side, "qwen-math", "x");
    assert!(math.text.starts_with("<|im_start|>system\n"));
    assert!(math.text.ends_with("<|im_end|>\n<|im_start|>assistant\n"));
    assert!(!math.add_special_tokens);
    let llama = render(&side, "llama-mistral", "x");
    assert_eq!(
        llama.text,
        "Question:\nx\nAnswer:\nLet's think step by step.\n"
    );
    assert_eq!(llama.token_ids[0], 1);
    assert_eq!(llama.stop_ids, [2]);
    assert!(
        render(&side, "qwen3", "x")
            .text
            .ends_with("[assistant] no thoughts")
    );
    assert!(
        render(&side, "qwen3-thinking", "x")
            .text
            .ends_with("[assistant]")
    );
    assert!(render(&side, "r1-distill", "x").text.contains("\\boxed{}"));
    // Every family has strings at which an answer is over.
    for family in [
        "qwen-base",
        "qwen-math",
        "qwen3",
        "r1-distill",
        "llama-mistral",
    ] {
        let stop = render(&side, family, "x").stop;
        assert!(
            stop.iter()
                .any(|s| s.starts_with("<|e") || s.starts_with("<|im_end")),
            "{family}"
        );
    }
    let error = "qwen4".parse::<PromptStyle>().unwrap_err();
    assert!(error.contains("qwen-base"), "{error}");
}

#[test]
fn users_bring_templates() {
    let side = open(&files(&[("tokenizer_config.json", CHAT)])).unwrap();
    let say = |source: &str, prompt: Prompt| {
        let template = PromptTemplate::new(source, Path::new("p.txt"))?;
        side.render(
            &PromptStyle::Template(template),
            prompt,
            &TemplateInputs::default(),
        )
    };
    let prompt = say("Q: {problem}\nA:\n", Prompt::Text("2 {problem} 2")).unwrap();
    assert_eq!(prompt.text, "Q: 2 {problem} 2\nA:");
    assert!(prompt.add_special_tokens);
    let prompt = say("<s>Q: {{ problem | upper }}", Prompt::Text("two")).unwrap();
    assert_eq!(prompt.text, "<s>Q: TWO");
    assert!(!prompt.add_special_tokens);
    let talk = [Message::new("user", "a"), Message::new("assistant", "b")];
    let joined = "{{ messages | map(attribute='content') | join('/') }}";
    assert_eq!(say(joined, Prompt::Messages(&talk)).unwrap().text, "a/b");
    let error = say("no place", Prompt::Text("x")).unwrap_err().to_string();
    assert!(
        error.starts_with("p.txt: ") && error.contains("{problem}"),
        "{error}"
    );
    let error = say("{problem}", Prompt::Messages(&talk))
        .unwrap_err()
        .to_string();
    assert!(error.contains("--prompt-style chat"), "{error}");
}

#[test]
fn templates_are_found_where_models_keep_them() {
    let rendered = |more: &[(&'static str, &str)]| {
        let side = open(&files(more)).unwrap();
        render(&side, "auto", "x").text
    };
    let listed = r#"{"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D{{ messages[0].content }}"}]}"#;
    assert_eq!(rendered(&[("tokenizer_config.json", listed)]), "Dx");
    let file = ("chat_template.json", r#"{"chat_template": "J"}"#);
    assert_eq!(rendered(&[("tokenizer_config.json", listed), file]), "J");
    let jinja = ("chat_template.jinja", "F");
    assert_eq!(
        rendered(&[("tokenizer_config.json", listed), file, jinja]),
        "F"
    );
    assert_eq!(
        rendered(&[("tokenizer_config.json", r#"{"chat_template": null}"#)]),
        "x"
    );
    for bad in ["7", "[]", r#"[{"name": "default", "template": 7}]"#] {
        let text = format!("{{\"chat_template\": {bad}}}");
        let error = open(&files(&[("tokenizer_config.json", &text)]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("m/tokenizer_config.json: "), "{error}");
    }
}

#[test]
fn a_model_can_be_used_without_its_broken_template() {
    let side = open(&files(&[("chat_template.jinja", "{% if %}")])).unwrap();
    let inputs = TemplateInputs::default();
    let error = side
        .render(&PromptStyle::Auto, Prompt::Text("a"), &inputs)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("m/chat_template.jinja: "), "{error}");
    assert!(error.contains("--prompt-style raw"), "{error}");
    assert_eq!(render(&side, "raw", "a").text, "a");
}

#[test]
fn what_cannot_be_said_is_refused() {
    let mut without_bos = files(&[]);
    let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}"#;
    without_bos.insert("tokenizer.json", words.to_owned());
    let side = open(&without_bos).unwrap();
    let inputs = TemplateInputs::default();
    let error = side
        .render(&PromptStyle::Raw, Prompt::Text(" "), &inputs)
        .unwrap_err();
    assert!(error.to_string().contains("no tokens"), "{error}");
    let error = side
        .render(&PromptStyle::Chat, Prompt::Text("a"), &inputs)
        .unwrap_err();
    assert!(error.to_string().contains("--prompt-style raw"), "{error}");
    let turns = [Message::new("user", "a")];
    assert!(
        side.render(&PromptStyle::Raw, Prompt::Messages(&turns), &inputs)
            .is_ok()
    );
}

#[test]
fn a_directory_without_a_tokenizer_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(TextSide::open(dir.path()).unwrap().is_none());
    std::fs::create_dir(dir.path().join("tokenizer.json")).unwrap();
    assert!(TextSide::open(dir.path()).is_err());
}
