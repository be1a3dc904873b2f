//! Statistics over token rows: intervals, tests and rankings.
