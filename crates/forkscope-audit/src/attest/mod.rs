//! Attestations: a signed document about a run that a third party can check.
//!
//! `statement` says which files were audited, with which settings, and what came out;
//! `dsse` signs it (ed25519, `keys`); `check` compares it with files, rows and findings;
//! `refind` computes findings again from rows, and `recheck` rows again from weights.
//! `canon`, `merkle` and `rows` are the encodings: canonical JSON (RFC 8785), the tree
//! of RFC 6962, and the leaves of tables.
//!
//! What an attestation does not show: that the signer is honest. It binds a signer to
//! files and numbers; only `recheck` holds numbers against weights.

mod canon;
pub mod check;
pub mod dsse;
mod error;
pub mod files;
pub mod keys;
pub mod merkle;
mod proof;
mod recheck;
mod refind;
pub mod rows;
mod statement;

pub use canon::canonical;
pub use check::{Attestation, Fault, Found, Part, Subjects};
pub use error::AttestError;
pub use keys::{PrivateKey, PublicKey};
pub use proof::Proof;
pub use recheck::{
    Comparison, Draw, RecheckError, Rechecked, TOLERANCE, recheck_logprobs, recheck_pair,
    recheck_scores,
};
pub use refind::{Refound, refind};
pub use statement::{
    PREDICATE_TYPE, Predicate, Refusal, SCHEMA, STATEMENT_TYPE, Sha256Digest, Statement, Subject,
};
