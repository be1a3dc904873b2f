//! Activation patching between a base and its tuned policy: which layer and
//! which head carries a decision.
//!
//! At a decision position (the argmaxes differ; highest JS first, problems in
//! turn) the row that predicts it is computed again in one policy, the
//! *receiver*, with one value replaced by the other's, the *donor*: the residual
//! stream after l blocks, or the output of one head before the output
//! projection. With x the donor's choice, y the receiver's and
//! D = z_x - z_y (logits), a cell's effect is the recovery
//!
//!   R = sum(D_patched - D_receiver) / sum(D_donor - D_receiver)
//!
//! over positions: 0 where the patch does nothing, 1 where it brings the donor's
//! preference. A patched last layer gives 1 by construction where both policies
//! share final norm and head.
//!
//! Any disturbance moves D, so R alone shows little. Two controls: *random
//! value* patches the same row with the receiver's own value plus
//! (donor - receiver) of a random decision position of another problem: a push
//! of the same kind that is not this decision's; *random position* patches
//! random positions where both prefer the same token, as many per problem.
//!
//! Method: Meng et al. (arXiv 2202.05262), Wang et al. (arXiv 2211.00593), Zhang
//! and Nanda (arXiv 2309.16042); logit difference after the latter.

mod choose;
mod engine;

pub use choose::{PatchPlace, PatchingCounts, PatchingSettings};
pub use engine::PatchingPlan;
