//! The secret part of the viewer's address.
//!
//! 128 random bits of the system's generator, written as 32 hexadecimal
//! digits, are the first part of every path. Who cannot read the terminal, or
//! the browser that was given the address, cannot guess it; nothing is kept in
//! a cookie, which another port of the same host would be sent.

use std::hint::black_box;

use crate::error::ReportError;

/// The first part of every path that is answered.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, ReportError> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|e| ReportError::Random {
            reason: e.to_string(),
        })?;
        Ok(Self(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first part of a path is this one. How long that takes does
    /// not depend on where they differ.
    pub fn opens(&self, path: &str) -> bool {
        let given = path.strip_prefix('/').unwrap_or(path);
        let given = given.split('/').next().unwrap_or("").as_bytes();
        let own = self.0.as_bytes();
        if given.len() != own.len() {
            return false;
        }
        let differs = own.iter().zip(given).fold(0u8, |d, (a, b)| d | (a ^ b));
        black_box(differs) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() -> Result<(), ReportError> {
        let token = Token::random()?;
        let own = token.as_str().to_owned();
        assert_eq!(own.len(), 32);
        assert_ne!(own, Token::random()?.as_str());
        assert!(token.opens(&format!("/{own}/")) && token.opens(&format!("/{own}/api/run")));
        let short = own.get(..31).unwrap_or("");
        for path in [
            String::new(),
            "/".into(),
            format!("/{short}/"),
            format!("/{own}0/"),
            format!("//{own}/"),
            format!("/x/{own}/"),
            format!("/{}/", own.to_uppercase() + "G"),
            format!("/{short}\u{0}/"),
        ] {
            assert!(!token.opens(&path), "{path:?}");
        }
        Ok(())
    }
}
