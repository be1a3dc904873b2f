//! What changed between two policies: the pair diff and its findings.
