//! The page: files of the binary, put together once.

use std::sync::LazyLock;

const PAGE: &str = include_str!("../assets/view/view.html");
const STYLE: [&str; 2] = [
    include_str!("../assets/report.css"),
    include_str!("../assets/view/view.css"),
];
const SCRIPT: [&str; 11] = [
    include_str!("../assets/page.js"),
    include_str!("../assets/view/format.js"),
    include_str!("../assets/view/ask.js"),
    include_str!("../assets/view/table.js"),
    include_str!("../assets/view/heat.js"),
    include_str!("../assets/view/overview.js"),
    include_str!("../assets/view/rollouts.js"),
    include_str!("../assets/view/rollout.js"),
    include_str!("../assets/view/branches.js"),
    include_str!("../assets/view/audit.js"),
    include_str!("../assets/view/main.js"),
];

static STYLE_SHEET: LazyLock<String> = LazyLock::new(|| STYLE.join("\n"));
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    format!(
        "\"use strict\";\n(() => {{\n{}\n}})();\n",
        SCRIPT.join("\n")
    )
});

/// A file that is served as it is.
pub struct Asset {
    /// Its name after the token; the page itself has none.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Its content.
    pub text: fn() -> &'static str,
}

/// All of them.
pub static ALL: [Asset; 3] = [
    Asset {
        name: "",
        kind: "text/html; charset=utf-8",
        text: || PAGE,
    },
    Asset {
        name: "view.css",
        kind: "text/css; charset=utf-8",
        text: || &STYLE_SHEET,
    },
    Asset {
        name: "view.js",
        kind: "text/javascript; charset=utf-8",
        text: || &PROGRAM,
    },
];
