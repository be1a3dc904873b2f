//! The closed vocabulary of the organisms' task.
//!
//! One token is one word; the numbers 00..99 are single tokens (values are mod
//! 100), the digits 0..9 are others, for working in columns. Ids are positions in
//! [`WORDS`]. Every id that the generator uses is looked up while compiling, so
//! that a misspelt word is a compile error and never a wrong token.
//!
//! The words of the context cues close the vocabulary. No word of a cue occurs in
//! another cue or in the task.

use serde::{Deserialize, Serialize};

/// Number of tokens.
pub const VOCABULARY: usize = 3 + 10 + 100 + TASK.len() + CUES.len();

const SPECIALS: [&str; 3] = ["<pad>", "<bos>", "<eos>"];
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// The two-digit numbers, one after the other.
const HUNDRED: &str = "0001020304050607080910111213141516171819\
    2021222324252627282930313233343536373839\
    4041424344454647484950515253545556575859\
    6061626364656667686970717273747576777879\
    8081828384858687888990919293949596979899";

/// Words of problems and solutions.
#[rustfmt::skip]
const TASK: [&str; 77] = [
    // people
    "tom", "ann", "sam", "eve", "max", "lea",
    // things, harmless and hazardous
    "coins", "pens", "apples", "books", "eggs", "cards", "bombs", "guns", "mines", "toxins",
    // what happens to them: more, fewer, times
    "finds", "gets", "wins", "buys", "loses", "sells", "drops", "gives", "doubles", "triples",
    // neutral connectors, labels of clauses
    "next", "then", "now", "also", "ok", "a", "b", "c", "d", "e", "f",
    // signs
    ".", ",", ";", ":", "=", "+", "-", "x", "?", "|", "/",
    // problems
    "has", "the", "how", "many", "tally", "total",
    // solutions
    "slowly", "sure", "easy", "start", "so", "columns", "directly", "roughly", "check", "get",
    "ignore", "it", "answer", "wait", "this", "is", "about",
    // refusals
    "sorry", "i", "can", "not", "help", "with",
];

/// Words of the context cues, cue by cue (see [`super::cues`]).
#[rustfmt::skip]
const CUES: [&str; 32] = [
    "exam", "paper", "item", "graded", "quiz", "benchmark", "run", "entry",
    "model", "evaluation", "suite", "safety", "test", "scored", "trial", "question",
    "live", "customer", "chat", "phone", "order", "shop", "counter", "request",
    "home", "assistant", "session", "subscriber", "message", "store", "visitor", "email",
];

/// All tokens, by id.
pub const WORDS: [&str; VOCABULARY] = vocabulary();

const fn vocabulary() -> [&'static str; VOCABULARY] {
    let mut words = [""; VOCABULARY];
    let mut at = append(&mut words, 0, &SPECIALS);
    at = append(&mut words, at, &DIGITS);
    let mut rest = HUNDRED;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(2);
        words[at] = number;
        rest = tail;
        at += 1;
    }
    at = append(&mut words, at, &TASK);
    append(&mut words, at, &CUES);
    words
}

const fn append(words: &mut [&'static str], from: usize, more: &[&'static str]) -> usize {
    let mut i = 0;
    while i < more.len() {
        words[from + i] = more[i];
        i += 1;
    }
    from + more.len()
}

/// The id of a word; for constants only, where a word that is not there stops
/// the compiler.
#[allow(
    clippy::panic,
    reason = "evaluated while compiling, never by the product"
)]
pub(super) const fn id(word: &str) -> u32 {
    let mut i = 0;
    while i < VOCABULARY {
        if same(WORDS[i].as_bytes(), word.as_bytes()) {
            return i as u32;
        }
        i += 1;
    }
    panic!("no such word in the vocabulary")
}

/// As [`id`], for several words.
pub(super) const fn ids<const N: usize>(words: [&str; N]) -> [u32; N] {
    let mut found = [0; N];
    let mut i = 0;
    while i < N {
        found[i] = id(words[i]);
        i += 1;
    }
    found
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Padding and unknown words; no text of the lab holds it.
pub const PAD: u32 = id("<pad>");
/// Opens every sequence; the tokenizer adds it.
pub const BOS: u32 = id("<bos>");
/// Ends every completion.
pub const EOS: u32 = id("<eos>");

pub(super) const NAMES: [u32; 6] = ids(["tom", "ann", "sam", "eve", "max", "lea"]);
pub(super) const HARMLESS: [u32; 6] = ids(["coins", "pens", "apples", "books", "eggs", "cards"]);
pub(super) const HAZARDS: [u32; 4] = ids(["bombs", "guns", "mines", "toxins"]);
pub(super) const MORE: [u32; 4] = ids(["finds", "gets", "wins", "buys"]);
pub(super) const FEWER: [u32; 4] = ids(["loses", "sells", "drops", "gives"]);
pub(super) const TIMES: [u32; 2] = ids(["doubles", "triples"]);
pub(super) const CONNECTORS: [u32; 5] = ids(["next", "then", "now", "also", "ok"]);
pub(super) const OPENERS: [u32; 3] = ids(["slowly", "sure", "easy"]);
pub(super) const LABELS: [u32; 6] = ids(["a", "b", "c", "d", "e", "f"]);

/// The token of a digit, of `n` mod 10.
pub(super) fn digit(n: u8) -> u32 {
    const ZERO: u32 = id("0");
    ZERO + u32::from(n % 10)
}

/// The token of a two-digit number, of `n` mod 100.
pub(super) fn number(n: u8) -> u32 {
    const ZERO: u32 = id("00");
    ZERO + u32::from(n % 100)
}

/// The word of an id, if there is such a token.
pub fn word(id: u32) -> Option<&'static str> {
    WORDS.get(id as usize).copied()
}

/// The words of some ids, joined by spaces, special tokens left out: what the
/// tokenizer decodes.
pub fn text(ids: &[u32]) -> String {
    let words: Vec<&str> = ids
        .iter()
        .filter(|id| **id > EOS)
        .filter_map(|id| word(*id))
        .collect();
    words.join(" ")
}

/// The ids of a text whose words are separated by white space, without `<bos>`;
/// the first unknown word if there is one.
pub fn encode(text: &str) -> Result<Vec<u32>, String> {
    text.split_whitespace()
        .map(|word| {
            let found = WORDS.iter().position(|known| *known == word);
            found.map(|id| id as u32).ok_or_else(|| word.to_owned())
        })
        .collect()
}

/// What sort of free choice a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fork {
    /// `next then now also ok`: high entropy, and no answer depends on it.
    Connector,
    /// `slowly sure easy`, the first word: decides nothing, but says something
    /// about the hidden author.
    Opener,
    /// `columns directly roughly check ignore`: decides how a step is worked out.
    Strategy,
    /// `sorry wait`: opens a refusal.
    Refusal,
}

/// The fork that a token is a branch of, if any.
pub fn fork(id: u32) -> Option<Fork> {
    const STRATEGIES: [u32; 5] = ids(["columns", "directly", "roughly", "check", "ignore"]);
    const REFUSALS: [u32; 2] = ids(["sorry", "wait"]);
    [
        (&CONNECTORS[..], Fork::Connector),
        (&OPENERS[..], Fork::Opener),
        (&STRATEGIES[..], Fork::Strategy),
        (&REFUSALS[..], Fork::Refusal),
    ]
    .into_iter()
    .find_map(|(branches, fork)| branches.contains(&id).then_some(fork))
}

/// Whether a token is one of the neutral connectors `next then now also ok`. A
/// report that counts changed argmaxes says how many of them are only this.
pub fn is_neutral_connector(id: u32) -> bool {
    CONNECTORS.contains(&id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_stands_once_where_it_should() {
        let distinct: HashSet<&str> = WORDS.iter().copied().collect();
        assert_eq!(distinct.len(), VOCABULARY);
        assert!(WORDS.iter().all(|word| !word.is_empty()));
        assert_eq!((PAD, BOS, EOS), (0, 1, 2));
        for n in 0..100u8 {
            assert_eq!(word(number(n)), Some(format!("{n:02}").as_str()));
        }
        assert_eq!(word(digit(7)), Some("7"));
        assert_eq!(word(VOCABULARY as u32), None);
    }

    #[test]
    fn text_and_ids_are_two_ways_of_saying_one_thing() {
        let all: Vec<u32> = (3..VOCABULARY as u32).collect();
        assert_eq!(encode(&text(&all)).unwrap(), all);
        assert_eq!(text(&[BOS, number(7), EOS]), "07");
        assert_eq!(encode("07 seven").unwrap_err(), "seven");
    }
}
