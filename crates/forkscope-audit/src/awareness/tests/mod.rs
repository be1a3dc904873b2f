//! Tests of the probe's statistics.
