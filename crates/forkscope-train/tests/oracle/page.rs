//! `docs/training-parity.md`: each oracle test writes its own section when
//! `FORKSCOPE_PARITY_DOC` names the file (from the workspace root).

use std::path::Path;

/// Replaces the section `## title` of the page, or adds it at the end.
pub fn section(title: &str, body: &str) {
    let Ok(path) = std::env::var("FORKSCOPE_PARITY_DOC") else {
        return;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let head = format!("## {title}\n");
    let new = format!("{head}\n{}\n", body.trim_end());
    let page = match page.find(&head) {
        None => format!("{}\n\n{new}", page.trim_end()),
        Some(from) => {
            let rest = page[from + head.len()..].find("\n## ");
            let after = rest.map_or("", |at| &page[from + head.len() + at..]);
            format!("{}{new}{after}", &page[..from])
        }
    };
    std::fs::write(path, page).unwrap();
}
