//! Content security policy of the page.
//!
//! `default-src 'none'` forbids every fetch; the one style sheet and the one
//! script run because the policy names the SHA-256 of their exact text. Data
//! blocks (`type="application/json"`) are not scripts and need no permission.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// `'sha256-…'` of the text between the tags of a `<style>` or `<script>`.
pub fn source_hash(text: &str) -> String {
    format!(
        "'sha256-{}'",
        STANDARD.encode(Sha256::digest(text.as_bytes()))
    )
}

/// The policy for a page with this style sheet and this script.
pub fn policy(style: &str, script: &str) -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        source_hash(script),
        source_hash(style),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_a_known_text() {
        // From the CSP specification's example: alert('Hello, world.');
        assert_eq!(
            source_hash("alert('Hello, world.');"),
            "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
        );
    }

    #[test]
    fn nothing_is_unsafe() {
        let policy = policy("a{}", "1");
        assert!(policy.starts_with("default-src 'none'"));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
    }
}
