//! Findings and records rendered as HTML, Markdown and SVG.
