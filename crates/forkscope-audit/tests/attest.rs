//! Attestations: what is made, and that nothing of it can be changed unseen.

#[path = "attest/keys.rs"]
mod keys;
#[path = "attest/recheck.rs"]
mod recheck;
#[path = "attest/run.rs"]
mod run;
#[path = "attest/schema.rs"]
mod schema;
#[path = "attest/tampering.rs"]
mod tampering;
