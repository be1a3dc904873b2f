//! Module patterns: linear-time regular expressions with bounded size.

use crate::PolicyError;
use crate::files::ModelFiles;

pub(super) struct Anchored(regex::Regex);

impl Anchored {
    /// Matches whole module names.
    pub(super) fn new(files: &ModelFiles, field: &str, pattern: &str) -> Result<Self, PolicyError> {
        Self::build(files, field, &format!("^(?:{pattern})$"))
    }

    /// Matches a name or the end of it after a dot.
    pub(super) fn suffix(
        files: &ModelFiles,
        field: &str,
        pattern: &str,
    ) -> Result<Self, PolicyError> {
        Self::build(files, field, &format!("^(?:.*\\.)?(?:{pattern})$"))
    }

    fn build(files: &ModelFiles, field: &str, pattern: &str) -> Result<Self, PolicyError> {
        regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map(Self).map_err(|_| {
            PolicyError::bad(
                &files.path(super::CONFIG),
                format!("field `{field}`: `{}` is not a pattern of the supported kind", pattern.escape_debug()),
                "use a plain regular expression without look-around or back-references, or list the modules",
            )
        })
    }

    pub(super) fn matches(&self, module: &str) -> bool {
        self.0.is_match(module)
    }
}
