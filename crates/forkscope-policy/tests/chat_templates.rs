//! Chat templates: equal to transformers, and bounded when hostile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use forkscope_policy::PolicyError;
use forkscope_policy::text::{ChatTemplate, Message, TemplateInputs};
use proptest::prelude::*;

#[derive(serde::Deserialize)]
struct Golden {
    special_tokens: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    variables: BTreeMap<String, serde_json::Value>,
    expected: Option<String>,
    error: Option<String>,
}

#[test]
fn prompts_are_those_of_transformers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates");
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap();
    assert!(golden.cases.len() > 20);
    let mut wrong = Vec::new();
    for (i, case) in golden.cases.iter().enumerate() {
        let path = dir.join(format!("{}.jinja", case.template));
        let source = std::fs::read_to_string(&path).unwrap();
        let template = ChatTemplate::new(&source, &path, golden.special_tokens.clone()).unwrap();
        let inputs = TemplateInputs {
            add_generation_prompt: case.add_generation_prompt,
            variables: case.variables.clone(),
            ..TemplateInputs::default()
        };
        match (
            template.render(&case.messages, &inputs),
            &case.expected,
            &case.error,
        ) {
            (Ok(text), Some(expected), _) if text == *expected => {}
            (Err(error), None, Some(expected)) if error.to_string().contains(expected) => {}
            (got, expected, error) => {
                wrong.push(format!(
                    "case {i} {}:\n{got:#?}\n{expected:#?} {error:?}",
                    case.template
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn render(source: &str) -> Result<String, PolicyError> {
    let template = ChatTemplate::new(source, Path::new("m/chat_template.jinja"), BTreeMap::new())?;
    template.render(&[Message::new("user", "hello")], &TemplateInputs::default())
}

/// Every one is refused, soon, naming file and remedy.
#[test]
fn hostile_templates_are_refused() {
    let many = |part: &str, n: usize| part.repeat(n);
    let hostile: Vec<(&str, String)> = vec![
        ("string doubling", "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}".into()),
        ("tilde doubling", "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}".into()),
        ("capture doubling", "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}{% endfor %}".into()),
        ("join doubling", "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s]|join %}{% endfor %}".into()),
        ("replace growth", "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}".into()),
        ("replace filter growth", "{% set ns = namespace(s='aa') %}{% for i in range(100) %}{% set ns.s = ns.s|replace('a', ns.s) %}{% endfor %}".into()),
        ("format doubling", "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = '%s%s'|format(ns.s, ns.s) %}{% endfor %}".into()),
        ("list doubling", "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}".into()),
        ("map doubling", "{% set ns = namespace(s={'a': 1}) %}{% for i in range(100) %}{% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s|tojson }}".into()),
        ("list addition", "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}".into()),
        ("deep list", "{% set ns = namespace(s=[1]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}".into()),
        ("deep namespaces", "{% set root = namespace(s=1) %}{% for i in range(90000) %}{% set n = namespace() %}{% set n.s = root.s %}{% set root.s = n %}{% endfor %}{{ root }}".into()),
        ("cycle", "{% set ns = namespace() %}{% set ns.s = ns %}{{ ns }}".into()),
        ("cycle as json", "{% set ns = namespace() %}{% set ns.s = ns %}{{ ns|tojson }}".into()),
        ("cycles compared", "{% set a = namespace() %}{% set a.s = a %}{% set b = namespace() %}{% set b.s = b %}{{ a == b }}".into()),
        ("cycles sorted", "{% set a = namespace() %}{% set a.s = a %}{% set b = namespace() %}{% set b.s = b %}{{ [a, b]|sort }}".into()),
        ("huge range", "{% for i in range(1000000000) %}{% endfor %}".into()),
        ("nested ranges", "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}".into()),
        ("nested ranges, emitting", "{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}".into()),
        ("emitting long text", format!("{{% for i in range(90000) %}}{}{{% endfor %}}", many("x", 100_000))),
        ("capturing long text", format!("{{% set x %}}{{% for i in range(90000) %}}{}{{% endfor %}}{{% endset %}}{{{{ x }}}}", many("x", 100_000))),
        ("huge repeat", "{{ messages[0].content * 100000000 }}".into()),
        ("huge constant repeat", "{{ 'a' * 100000000 }}".into()),
        ("huge constant repeats", many("{{ 'a' * 90000000 ~ 'a' * 90000000 }}", 50)),
        ("huge constant product", "{{ 'a' * (100 * 1000 * 1000) }}".into()),
        ("huge constant power", "{{ 'a' * 10 ** 8 }}".into()),
        ("huge list repeat", "{{ [1] * 100000000 }}".into()),
        ("wide format", "{{ '%999999999d'|format(1) }}".into()),
        ("wide format by argument", "{{ '%*d'|format(999999999, 1) }}".into()),
        ("wide str.format", "{{ '{:>999999999}'.format(1) }}".into()),
        ("wide nested str.format", "{{ '{:>{}}'.format(1, 999999999) }}".into()),
        ("wide indent", "{{ 'a\nb'|indent(999999999) }}".into()),
        ("wide indent by name", "{{ 'a\nb'|indent(width=999999999) }}".into()),
        ("wide tojson", "{{ [1]|tojson(indent=999999999) }}".into()),
        ("wide batch", "{{ [1]|batch(999999999, 'x') }}".into()),
        ("macro recursion", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}".into()),
        ("macro fan-out", "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}".into()),
        ("loop recursion", "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}".into()),
        ("parentheses", format!("{{{{ {}1{} }}}}", many("(", 90_000), many(")", 90_000))),
        ("brackets", format!("{{{{ {}1{} }}}}", many("[", 900), many("]", 900))),
        ("long sum", format!("{{{{ 1{} }}}}", many("+x", 90_000))),
        ("long filter chain", format!("{{{{ 'a'{} }}}}", many("|upper", 30_000))),
        ("nested blocks", format!("{}x{}", many("{% if 1 %}", 10_000), many("{% endif %}", 10_000))),
        ("too long", many("x", 300_000)),
        ("include", "{% include '/etc/passwd' %}".into()),
        ("import", "{% import 'os' as os %}".into()),
        ("extends", "{% extends 'a' %}".into()),
        ("block", "{% block a %}{% endblock %}".into()),
        ("splat", "{{ range(*[1, 2]) }}".into()),
        ("unknown filter", "{{ 1|system }}".into()),
        ("unknown method", "{{ ''.__class__.__mro__ }}".into()),
        ("syntax", "{% if %}".into()),
        ("says no", "{{ raise_exception('no') }}".into()),
    ];
    for (name, source) in hostile {
        let start = Instant::now();
        let error = match render(&source) {
            Ok(text) => panic!("{name} was rendered: {} bytes", text.len()),
            Err(error) => error.to_string(),
        };
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{name} took {:?}",
            start.elapsed()
        );
        assert!(
            error.starts_with("m/chat_template.jinja: "),
            "{name}: {error}"
        );
        assert!(error.contains("--prompt-style raw"), "{name}: {error}");
        assert!(error.len() < 900, "{name}: {error}");
    }
}

#[test]
fn long_but_honest_templates_are_rendered() {
    let chain = format!(
        "{}x{}",
        "{% if messages %}a{% elif x %}".to_owned() + &"b{% elif x %}".repeat(5_000),
        "{% endif %}"
    );
    assert_eq!(render(&chain).unwrap(), "a");
    let long = "word ".repeat(200_000);
    let template = ChatTemplate::new(
        "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + m.content|trim %}{% endfor %}{{ ns.t }}",
        Path::new("t"),
        BTreeMap::new(),
    )
    .unwrap();
    let text = template
        .render(&[Message::new("user", &long)], &TemplateInputs::default())
        .unwrap();
    assert_eq!(text, long.trim());
    let turns: Vec<Message> = (0..500)
        .map(|i| Message::new("user", &format!("turn {i}")))
        .collect();
    assert!(
        template
            .render(&turns, &TemplateInputs::default())
            .unwrap()
            .ends_with("turn 499")
    );
}

#[test]
fn the_hash_is_of_the_source() {
    let template = ChatTemplate::new("abc", Path::new("t"), BTreeMap::new()).unwrap();
    assert_eq!(
        template.hash(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

/// What templates are made of, to be put together in any order.
const PARTS: &[&str] = &[
    "{% set ns = namespace(a=1, l=[]) %}",
    "{% set ns.a = ",
    "ns.a",
    " + ",
    " * ",
    " ~ ",
    " - ",
    " in ",
    " == ",
    " < ",
    " %}",
    "{{ ",
    " }}",
    "{% for m in messages %}",
    "{% endfor %}",
    "{% if ",
    "{% else %}",
    "{% elif ",
    "{% endif %}",
    "{% macro f(x, y=2) %}",
    "{% endmacro %}",
    "f(1)",
    "{% set x %}",
    "{% endset %}",
    "x",
    "messages",
    "messages[0]",
    ".content",
    "['role']",
    "[1:]",
    "[::-1]",
    "|length",
    "|tojson",
    "|tojson(indent=2)",
    "|join(', ')",
    "|list",
    "|sort",
    "|items",
    "|first",
    "|replace('a', x)",
    ".split('e')",
    ".strip()",
    ".items()",
    ".format(1)",
    "'ab'",
    "7",
    "1.5",
    "none",
    "true",
    "[1, x]",
    "{'a': x}",
    "(1, 2)",
    "range(3)",
    "loop.index0",
    "loop.last",
    " is string",
    " is not defined",
    "not ",
    " and ",
    " if x else 2",
    "{%- break -%}",
    "{% continue %}",
    "{# c #}",
    "\n  ",
    "text",
    "{% generation %}",
    "{% endgeneration %}",
    "raise_exception('e')",
    "strftime_now('%Y')",
    "-",
    "%}",
    "{%",
    "}}",
    "{{",
    "\"",
    "{% for a, b in x.items() recursive %}",
    "loop(x)",
    "|groupby('role')",
    "|map(attribute='role')",
    "{% call f(1) %}",
    "{% endcall %}",
    "{% filter upper %}",
    "{% endfilter %}",
    "{% with y = x %}",
    "{% endwith %}",
    "|batch(2)",
    "|selectattr('role', 'eq', 'user')",
    "|sum",
    "|unique",
    "**",
    "//",
    "%",
];

/// Whole statements and expressions, so that many combinations compile.
const WHOLE: &[&str] = &[
    "{{ messages }}",
    "{{ messages|tojson }}",
    "{% set x = messages[0] %}",
    "{{ x }}",
    "{{ x.content[1:] }}",
    "{% for k in x %}{{ loop.index }}{% if loop.first %}{% continue %}{% endif %}{{ k }}{% endfor %}",
    "{% set ns = namespace(a='b', c=[1]) %}",
    "{% set ns.a = ns.a ~ 'c' %}",
    "{% set ns.c = ns.c + [ns.a] %}",
    "{{ ns.c|join('-') }}",
    "{% set ns.d = ns %}",
    "{{ ns }}",
    "{% macro f(a, b=1) %}{{ a }}{{ b }}{% endmacro %}",
    "{{ f(1) }}",
    "{{ f(x, b=ns) }}",
    "{% set y %}{{ x }}{% endset %}",
    "{{ y|upper }}",
    "{{ y.split('o')[-1] }}",
    "{% if y is string and 'e' in y %}{{ y * 2 }}{% else %}{{ y }}{% endif %}",
    "{{ [x, y, ns]|length }}",
    "{% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}none{% endfor %}",
    "{% set x = {'k': [1, 2.5, none], 'l': (1, true)} %}",
    "{{ x|dictsort }}",
    "{{ x.k|sort }}",
    "{{ x.k|sum }}",
    "{% for a, b in x.items() %}{{ a }}={{ b }}{% endfor %}",
    "{{ range(5)|list|batch(2)|list }}",
    "{% call(z) f(1) %}{{ z }}{% endcall %}",
    "{% filter upper %}a{{ y }}{% endfilter %}",
    "{{ 7 // 2 ** 2 % 3 }}",
    "{% with q = x %}{{ q }}{% endwith %}",
    "{{ ns == ns }}",
    "{{ [ns]|unique|list }}",
    "{% generation %}g{% endgeneration %}",
    "{% for m in [[1, [2]], [3]] recursive %}{% if m is iterable %}{{ loop(m) }}{% else %}{{ m }}{% endif %}{% endfor %}",
    "{{ '%s|%5d'|format('a', 3) }}",
    "{{ '{0}{1}'.format('a', x) }}",
    "{{ strftime_now('%d %B %Y') }}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Rendered or refused, never more: the engine does not fail, nor take long.
    #[test]
    fn any_template_is_rendered_or_refused(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..24),
        whole in prop::collection::vec(prop::sample::select(WHOLE), 0..12),
    ) {
        for source in [parts.concat(), whole.concat()] {
            let start = Instant::now();
            if let Err(error) = render(&source) {
                let said = error.to_string();
                prop_assert!(!said.contains("made the template engine fail"), "{source}: {said}");
            }
            prop_assert!(start.elapsed() < Duration::from_secs(5), "{source}");
        }
    }
}
