//! A minimal SVG writer: shapes with presentation attributes, so that a figure
//! reads alone, and classes, so that the page can recolour it without inline
//! styles.

use std::fmt::Write as _;

use crate::text;

/// Roles of ink in a figure: class name, default colour.
#[derive(Debug, Clone, Copy)]
pub enum Ink {
    /// Text and axes.
    Main,
    /// Secondary text, ticks.
    Soft,
    /// Grid lines.
    Grid,
    /// Data.
    Accent,
    /// A reference that the data is compared with.
    Reference,
    /// One of several curves, 0 to 5.
    Series(u8),
}

impl Ink {
    fn class(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Soft => "soft",
            Self::Grid => "grid",
            Self::Accent => "accent",
            Self::Reference => "ref",
            Self::Series(i) => ["c0", "c1", "c2", "c3", "c4", "c5"][usize::from(i % 6)],
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Main => "#1d1f24",
            Self::Soft => "#5d6370",
            Self::Grid => "#e3e5ea",
            Self::Accent => "#274f9e",
            Self::Reference => "#9aa0ac",
            Self::Series(i) => [
                "#274f9e", "#b4560f", "#1f7a5c", "#8a3f8f", "#8a6d00", "#4a5568",
            ][usize::from(i % 6)],
        }
    }
}

/// Where a text hangs on its point.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    /// Begins at the point.
    Start,
    /// Centred on it.
    Middle,
    /// Ends at it.
    End,
}

/// An SVG document under construction.
#[derive(Debug)]
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// An empty figure.
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            body: String::new(),
            width,
            height,
        }
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, width: f64) {
        let _ = writeln!(
            self.body,
            r#"<line class="s-{}" x1="{:.2}" y1="{:.2}" x2="{:.2}" y2="{:.2}" stroke="{}" stroke-width="{width}"/>"#,
            ink.class(),
            from.0,
            from.1,
            to.0,
            to.1,
            ink.colour()
        );
    }

    /// A line through points; `dashed` marks a reference.
    pub fn polyline(&mut self, points: &[(f64, f64)], ink: Ink, width: f64) {
        let dash = if matches!(ink, Ink::Reference) {
            r#" stroke-dasharray="4 4""#
        } else {
            ""
        };
        let _ = writeln!(
            self.body,
            r#"<polyline class="s-{}" points="{}" fill="none" stroke="{}" stroke-width="{width}" stroke-linejoin="round"{dash}/>"#,
            ink.class(),
            joined(points),
            ink.colour()
        );
    }

    /// A translucent area, for interval bands.
    pub fn band(&mut self, points: &[(f64, f64)], ink: Ink) {
        let _ = writeln!(
            self.body,
            r#"<polygon class="f-{}" points="{}" fill="{}" fill-opacity="0.16"/>"#,
            ink.class(),
            joined(points),
            ink.colour()
        );
    }

    /// A shaded cell that names its value when pointed at; `shade` in [0, 1].
    pub fn cell(&mut self, at: (f64, f64), size: (f64, f64), ink: Ink, shade: f64, title: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect class="f-{}" x="{:.2}" y="{:.2}" width="{:.2}" height="{:.2}" fill="{}" fill-opacity="{:.3}"><title>{}</title></rect>"#,
            ink.class(),
            at.0,
            at.1,
            size.0,
            size.1,
            ink.colour(),
            0.06 + 0.94 * shade.clamp(0.0, 1.0),
            text::html_foreign(title)
        );
    }

    /// A dot that names its value when pointed at.
    pub fn dot(&mut self, at: (f64, f64), radius: f64, ink: Ink, title: &str) {
        let _ = writeln!(
            self.body,
            r#"<circle class="f-{}" cx="{:.2}" cy="{:.2}" r="{radius}" fill="{}"><title>{}</title></circle>"#,
            ink.class(),
            at.0,
            at.1,
            ink.colour(),
            text::html_foreign(title)
        );
    }

    /// A text of foreign or own origin, made visible and escaped.
    pub fn text(&mut self, at: (f64, f64), content: &str, anchor: Anchor, ink: Ink) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = writeln!(
            self.body,
            r#"<text class="f-{}" x="{:.2}" y="{:.2}" fill="{}" text-anchor="{anchor}">{}</text>"#,
            ink.class(),
            at.0,
            at.1,
            ink.colour(),
            text::html_foreign(content)
        );
    }

    /// The document: usable alone and inline.
    pub fn finish(self, title: &str, description: &str) -> String {
        let (w, h) = (self.width, self.height);
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" class="figure" viewBox="0 0 {w} {h}" width="{w}" height="{h}" "#,
                r#"role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif" font-size="12">"#,
                "\n<title>{title}</title>\n<desc>{desc}</desc>\n",
                r##"<rect class="sheet" width="{w}" height="{h}" fill="#ffffff"/>"##,
                "\n{body}</svg>\n"
            ),
            w = w,
            h = h,
            title = text::html_foreign(title),
            desc = text::html_foreign(description),
            body = self.body,
        )
    }
}

fn joined(points: &[(f64, f64)]) -> String {
    let mut out = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let space = if i == 0 { "" } else { " " };
        let _ = write!(out, "{space}{x:.2},{y:.2}");
    }
    out
}
