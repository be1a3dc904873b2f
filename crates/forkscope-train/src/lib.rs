//! Adapters as training leaves them: the low-rank difference of two checkpoints.
