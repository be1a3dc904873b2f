//! `target_modules` and `exclude_modules`: a list of names, a pattern, or all.

use serde_json::Value;

use super::{Projection, pattern};
use crate::PolicyError;
use crate::files::ModelFiles;
use crate::model::config::Fields;

/// Which modules a field of the configuration names.
pub(super) enum Targets<'a> {
    AllLinear,
    Names(&'a Fields<'a>, Vec<&'a str>),
    Pattern(Box<pattern::Anchored>),
}

impl<'a> Targets<'a> {
    /// `None` where the field is absent.
    pub(super) fn parse(
        files: &ModelFiles,
        f: &'a Fields<'a>,
        field: &str,
    ) -> Result<Option<Self>, PolicyError> {
        Ok(Some(match f.get(field) {
            Some(Value::String(s)) if s == "all-linear" => Self::AllLinear,
            Some(Value::String(s)) => {
                Self::Pattern(Box::new(pattern::Anchored::new(files, field, s)?))
            }
            Some(Value::Array(list)) => {
                let names = list.iter().map(|v| {
                    v.as_str().ok_or_else(|| {
                        f.bad(format!("field `{field}` holds something other than names"))
                    })
                });
                Self::Names(f, names.collect::<Result<_, _>>()?)
            }
            Some(_) => {
                return Err(f.bad(format!("field `{field}` is neither a list nor a pattern")));
            }
            None => return Ok(None),
        }))
    }

    pub(super) fn matches(&self, module: &str) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Names(_, names) => names.iter().any(|n| {
                module == *n
                    || module
                        .strip_suffix(n)
                        .is_some_and(|rest| rest.ends_with('.'))
            }),
            Self::Pattern(p) => p.matches(module),
        }
    }

    /// Refuses names that are no projection of a block.
    pub(super) fn check_names(&self) -> Result<(), PolicyError> {
        let Self::Names(f, names) = self else {
            return Ok(());
        };
        for name in names {
            let known = Projection::ALL
                .iter()
                .any(|p| name.ends_with(p.path().rsplit('.').next().unwrap_or_default()));
            if !known {
                return Err(f.bad(format!("`target_modules` names `{}`; only q, k, v, o, gate, up and down projections can be adapted", name.escape_debug())));
            }
        }
        Ok(())
    }
}
