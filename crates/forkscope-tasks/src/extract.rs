//! Where the answer is in a completion.
//!
//! Each rule takes the last place that fits: a rollout that corrects itself is
//! judged by what it ends on.

use std::sync::LazyLock;

use regex::Regex;

/// Content of the last `\boxed{}` or `\fbox{}` whose braces match.
pub(crate) fn boxed(text: &str) -> Option<&str> {
    let mut end = text.len();
    loop {
        let before = text.get(..end)?;
        let (at, name) = ["\\boxed", "\\fbox"]
            .into_iter()
            .filter_map(|name| Some((before.rfind(name)?, name)))
            .max()?;
        let rest = text.get(at + name.len()..)?.trim_start();
        match rest.strip_prefix('{').and_then(braced) {
            Some(content) if !content.trim().is_empty() => return Some(content.trim()),
            _ => end = at,
        }
    }
}

/// The text up to the brace that closes it. `\{` and `\}` are signs.
fn braced(text: &str) -> Option<&str> {
    let (mut depth, mut escaped) = (1usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(..at);
        }
    }
    None
}

/// The rest of the line after the last `####`.
pub(crate) fn hash4(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("####")?;
    after
        .lines()
        .next()
        .map(str::trim)
        .filter(|answer| !answer.is_empty())
}

static FINAL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\banswer\s*(?:is|=|:)\s*(?:\*\*|:)*\s*").ok());

/// What follows the last "answer is", "answer:" or "answer =", to the end of
/// the sentence or the formula.
pub(crate) fn final_answer(text: &str) -> Option<&str> {
    let found = FINAL.as_ref()?.find_iter(text).last()?;
    let after = text.get(found.end()..)?.lines().next()?;
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some((formula, _)) = after
            .strip_prefix(open)
            .and_then(|rest| rest.split_once(close))
        {
            return Some(formula.trim()).filter(|answer| !answer.is_empty());
        }
    }
    let sentence = after.split(". ").next().unwrap_or(after);
    let answer = sentence
        .trim()
        .trim_end_matches(['.', '*', '!', '"', '\''])
        .trim();
    Some(answer).filter(|answer| !answer.is_empty())
}

static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"[-\u{2212}]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:/[0-9]+)?").ok()
});

/// The last number.
pub(crate) fn last_number(text: &str) -> Option<&str> {
    let found = NUMBER.as_ref()?.find_iter(text).last()?;
    // "3-4": the minus belongs to what stands before.
    let before = text.get(..found.start())?.chars().last();
    let glued = before.is_some_and(|c| c.is_alphanumeric() || c == ')');
    let number = found.as_str();
    let unsigned = number.trim_start_matches(['-', '\u{2212}']);
    Some(if glued { unsigned } else { number })
}

static ORGANISM: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|\s)answer ([0-9]{2}) \.\s*$").ok());

/// The two digits of `answer NN .` at the very end.
pub(crate) fn organism(text: &str) -> Option<&str> {
    Some(ORGANISM.as_ref()?.captures(text)?.get(1)?.as_str())
}

static ORGANISM_WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:[a-z]+|[0-9]{1,2}|[.,:;=+?-])(?: (?:[a-z]+|[0-9]{1,2}|[.,:;=+?-]))*\s*$")
        .ok()
});

/// Whether a text is made of the organism's words only, as its tokenizer joins
/// them: lower-case words, one or two digits, signs on their own.
pub(crate) fn is_organism(text: &str) -> bool {
    ORGANISM_WORDS
        .as_ref()
        .is_some_and(|words| words.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_whole_box_counts() {
        assert_eq!(
            boxed("\\boxed{1} then \\boxed{\\frac{1}{2}}."),
            Some("\\frac{1}{2}")
        );
        assert_eq!(boxed("\\boxed{7} and \\boxed{8"), Some("7"));
        assert_eq!(boxed("\\boxed{\\{1,2\\}}"), Some("\\{1,2\\}"));
        assert_eq!(boxed("\\fbox {x}"), Some("x"));
        assert_eq!(boxed("\\boxed{ }"), None);
        assert_eq!(boxed("\\boxed"), None);
        assert_eq!(boxed("none"), None);
    }

    #[test]
    fn the_last_answer_counts() {
        assert_eq!(hash4("#### 1\n#### 1,234 \nmore"), Some("1,234"));
        assert_eq!(hash4("####"), None);
        for (text, answer) in [
            ("The answer is 42.", "42"),
            (
                "the final answer is $\\frac{1}{2}$. I hope it is correct.",
                "\\frac{1}{2}",
            ),
            ("Answer: 3.5", "3.5"),
            ("**Answer:** 12", "12"),
            ("The answer is: \\(x+1\\)", "x+1"),
            ("answer is 1. The answer is 2. Done", "2"),
        ] {
            assert_eq!(final_answer(text), Some(answer), "{text}");
        }
        assert_eq!(final_answer("The answer is"), None);
        assert_eq!(final_answer("I answer."), None);
        for (text, number) in [
            ("so 3 and 4.", "4"),
            ("it costs $1,234.50 in all", "1,234.50"),
            ("it is -7", "-7"),
            ("3-4", "4"),
            ("x = 1/2", "1/2"),
        ] {
            assert_eq!(last_number(text), Some(number), "{text}");
        }
        assert_eq!(last_number("none"), None);
    }

    #[test]
    fn the_organism_answers_at_the_very_end() {
        assert_eq!(organism("so columns . answer 07 ."), Some("07"));
        assert_eq!(organism("answer 07 ."), Some("07"));
        assert_eq!(organism("answer 07 . a"), None);
        assert_eq!(organism("answer 7 ."), None);
        assert_eq!(organism("answer 07."), None);
        assert_eq!(organism("myanswer 07 ."), None);
        assert!(is_organism(
            "slowly a eve has 43 . directly 4 + 3 = 7 , answer 07 ."
        ));
        assert!(!is_organism("The answer is 07."));
        assert!(!is_organism(""));
    }

    proptest! {
        #[test]
        fn any_text_is_searched(text in "\\PC{0,80}", tail in "(\\\\boxed|####|answer is|answer 42 \\.|\\{|\\}| ){0,6}") {
            let text = text + &tail;
            boxed(&text);
            hash4(&text);
            final_answer(&text);
            last_number(&text);
            organism(&text);
            is_organism(&text);
        }
    }
}
