//! Where the answer is in a completion.
//!
//! Each rule takes the last place that fits: a rollout that corrects itself is
//! judged by what it ends on.

use std::sync::LazyLock;

use regex::Regex;

use crate::math::words::function;

/// The names of boxes, as a macro ends in them (`\beginboxed` is a slip that
/// models make).
const BOXES: [&str; 3] = ["boxed", "fbox", "framebox"];

/// Content of the last box whose braces match: the last to open. One pass with
/// a stack, so that a thousand open boxes cost no more than their length.
pub(crate) fn boxed(text: &str) -> Option<&str> {
    let mut last: Option<(usize, usize)> = None;
    // For each brace that is open, where its content starts if it is a box.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => open.push(is_box(text.get(..at).unwrap_or("")).then_some(at + 1)),
            b'}' => {
                let Some(Some(start)) = open.pop() else {
                    continue;
                };
                let filled = text.get(start..at).is_some_and(|c| !c.trim().is_empty());
                if filled && last.is_none_or(|(known, _)| known < start) {
                    last = Some((start, at));
                }
            }
            _ => {}
        }
    }
    match last {
        Some((start, end)) => text.get(start..end).map(str::trim),
        None => bare_box(text),
    }
}

fn is_box(before: &str) -> bool {
    // Most braces stand behind something else.
    let last = before.as_bytes().last();
    if !last.is_some_and(|b| matches!(b, b'd' | b'x') || !b.is_ascii_graphic()) {
        return false;
    }
    let before = before.trim_end();
    BOXES.iter().any(|name| before.ends_with(name))
}

/// `\boxed 42`: up to white space.
fn bare_box(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("\\boxed")?;
    let word = after.split_whitespace().next()?;
    let word = word.split('$').next()?.trim_end_matches(['.', ',']);
    (!word.is_empty() && !word.starts_with(['{', '}', '('])).then_some(word)
}

/// Content of the last `<answer>` tag that is closed.
pub(crate) fn tagged(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once("</answer>")?;
    let (_, content) = before.rsplit_once("<answer>")?;
    Some(content.trim()).filter(|content| !content.is_empty())
}

/// The answer that a text states by a mark (tag, box, `####`, "answer is"),
/// else the whole text: how reference answers and bare predictions are read.
pub fn stated_answer(text: &str) -> &str {
    let marked = tagged(text)
        .or_else(|| boxed(text))
        .or_else(|| hash4(text))
        .or_else(|| final_answer(text));
    marked.map_or(text.trim(), unboxed)
}

/// The content of a box within an answer.
pub(crate) fn unboxed(answer: &str) -> &str {
    boxed(answer).unwrap_or(answer)
}

/// Longest completion that can be an answer and nothing else, bytes.
const MAX_WHOLE: usize = 512;

/// The whole of a completion of one line.
pub(crate) fn whole(text: &str) -> Option<&str> {
    let line = text.trim();
    let bare = !line.is_empty() && line.len() <= MAX_WHOLE && !line.contains('\n');
    bare.then_some(line)
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

/// Whether plain words of three letters or more stand in a text: it may be a
/// sentence, of which short words could pass for products of variables.
pub(crate) fn has_words(text: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic() && c != '\\')
        .any(|run| run.chars().count() > 2 && !run.contains('\\') && function(run).is_none())
}

static FINAL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:answer|correct\s(?:option|choice))\s*(?:\*\*)?\s*(?:is|are|=|:)\s*(?:(?:therefore|thus|simply|just)\b)?\s*(?:\*\*|:)*\s*",
    )
    .ok()
});

/// Where the last such phrase ends. The end of a long text is searched first,
/// so that a megabyte of phrases costs no more than the last ones.
fn final_mark(text: &str) -> Option<usize> {
    let (pattern, mut window) = (FINAL.as_ref()?, 1usize << 12);
    loop {
        let mut from = text.len().saturating_sub(window);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        // What starts where the window does may be the end of a longer word.
        let whole = |m: &regex::Match<'_>| from == 0 || m.start() > 0;
        let marks = pattern.find_iter(text.get(from..)?).filter(whole);
        match marks.last() {
            Some(mark) => return from.checked_add(mark.end()),
            None if from == 0 => return None,
            None => window = window.saturating_mul(16),
        }
    }
}

/// What follows the last "answer is", "answer:", "answer =" or "correct option
/// is", to the end of the sentence or the formula.
pub(crate) fn final_answer(text: &str) -> Option<&str> {
    let after = text.get(final_mark(text)?..)?.lines().next()?;
    let sentence = after.split(". ").next().unwrap_or(after);
    // "$1$ and $2$" is more than its first formula.
    let several = sentence.matches('$').take(3).count() > 2 && !sentence.starts_with("$$");
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some((formula, _)) = after
            .strip_prefix(open)
            .and_then(|rest| rest.split_once(close))
            .filter(|_| !several)
        {
            return Some(formula.trim()).filter(|answer| !answer.is_empty());
        }
    }
    let answer = sentence
        .trim()
        .trim_end_matches(['.', '*', '!', '"', '\''])
        .trim();
    Some(answer).filter(|answer| !answer.is_empty())
}

static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"[-\u{2212}]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:/[0-9]+)?").ok()
});

/// Longest run of digits and signs in which a number is looked for, bytes.
const MAX_NUMBERS: usize = 1 << 16;

/// The last number. Only the run of digits and signs that it stands in is
/// searched, so that a megabyte of numbers costs no more than its last one.
pub(crate) fn last_number(text: &str) -> Option<&str> {
    let last = text.rfind(|c: char| c.is_ascii_digit())?;
    let text = text.get(..=last)?;
    let of_number = |c: char| c.is_ascii_digit() || matches!(c, ',' | '.' | '/' | '-' | '\u{2212}');
    let run = text.trim_end_matches(of_number).len();
    let numbers = text.get(run..).filter(|run| run.len() <= MAX_NUMBERS)?;
    let found = NUMBER.as_ref()?.find_iter(numbers).last()?;
    let before = text.get(..run.checked_add(found.start())?)?.chars().last();
    // "3-4": the minus belongs to what stands before.
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
/// them: lower-case words, one or two digits, signs on their own. A bare number
/// is anybody's.
pub(crate) fn is_organism(text: &str) -> bool {
    let worded = text.contains(|c: char| c.is_ascii_lowercase());
    let words = ORGANISM_WORDS.as_ref();
    worded && words.is_some_and(|words| words.is_match(text))
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
        assert_eq!(boxed("\\beginboxed{8}"), Some("8"));
        assert_eq!(boxed("$\\framebox{204}$ minutes"), Some("204"));
        assert_eq!(boxed("so $\\boxed 5$."), Some("5"));
        assert_eq!(boxed("\\boxed{\\boxed{3}}"), Some("3"));
        assert_eq!(boxed("} \\boxed{7} {"), Some("7"));
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
            ("The correct option is (B).", "(B)"),
            ("The answers are: no. Answer: B. It is so", "B"),
            ("the answer is therefore $x=2$ or $x=3$.", "$x=2$ or $x=3$"),
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
    fn tags_and_bare_texts_state_an_answer() {
        assert_eq!(tagged("<answer>1</answer> <answer> 2 </answer>"), Some("2"));
        assert_eq!(tagged("<answer> </answer>"), None);
        assert_eq!(tagged("</answer><answer>1"), None);
        for (text, answer) in [
            (" 1/2 ", "1/2"),
            ("<answer>\\boxed{4}</answer>", "4"),
            ("$\\boxed{x}$", "x"),
            ("work\n#### 12", "12"),
            ("The final answer is 5.", "5"),
        ] {
            assert_eq!(stated_answer(text), answer, "{text}");
        }
        assert_eq!(whole(" x < 2 \n"), Some("x < 2"));
        assert_eq!(whole("a\nb"), None);
        assert_eq!(whole(" "), None);
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
        assert!(!is_organism("42"));
    }

    proptest! {
        #[test]
        fn any_text_is_searched(text in "\\PC{0,80}", tail in "(\\\\boxed|####|answer is|answer 42 \\.|\\{|\\}| ){0,6}") {
            let text = text + &tail;
            boxed(&text);
            tagged(&text);
            stated_answer(&text);
            hash4(&text);
            final_answer(&text);
            last_number(&text);
            organism(&text);
            is_organism(&text);
        }
    }
}
