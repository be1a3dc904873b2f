//! Parameters of a question, every one of them known.

use super::respond::Fault;

/// `name=value` pairs after the question mark.
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Takes the pairs; a name that is not among `known` is refused, so that a
    /// mistyped filter does not pass as no filter.
    pub fn new(pairs: Vec<(String, String)>, known: &[&str]) -> Result<Self, Fault> {
        match pairs
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            None => Ok(Self(pairs)),
            Some((name, _)) => Err(Fault::Asked(format!(
                "there is no parameter {name}; known are {}",
                known.join(", ")
            ))),
        }
    }

    /// The value of a parameter; one that is empty is not there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let pairs = self
            .0
            .iter()
            .filter(move |(n, v)| n == name && !v.is_empty());
        pairs.map(|(_, value)| value.as_str())
    }

    /// A whole number, at most `most`; `default` where it is not given.
    pub fn number(&self, name: &str, default: u64, most: u64) -> Result<u64, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        match text.parse::<u64>() {
            Ok(n) if n <= most => Ok(n),
            _ => Err(Fault::Asked(format!(
                "{name} {text} is not a whole number of at most {most}"
            ))),
        }
    }

    /// One of a few words.
    pub fn word<'a>(&'a self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Fault> {
        match self.get(name) {
            Some(word) if !words.contains(&word) => Err(Fault::Asked(format!(
                "{name} {word} is none of {}",
                words.join(", ")
            ))),
            other => Ok(other),
        }
    }
}
