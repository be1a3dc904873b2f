//! Where the hub and its cache are.

use std::env::VarError;
use std::path::{Path, PathBuf};

use crate::PolicyError;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What the hub's environment variables say.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The cache (`HF_HUB_CACHE`, else `hub` in `HF_HOME`, else
    /// `~/.cache/huggingface/hub`).
    pub cache: PathBuf,
    /// The server, without a slash at its end (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Whether the network is off limits (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Shown to the server alone, never to those it redirects to (`HF_TOKEN`,
    /// else the file `token` in `HF_HOME`).
    pub token: Option<String>,
}

impl HubSettings {
    /// Reads the environment.
    pub fn from_env() -> Result<Self, PolicyError> {
        Self::from_variables(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(PolicyError::bad(
                Path::new(name),
                "the variable is not UTF-8",
                "set it again",
            )),
        })
    }

    fn from_variables(
        get: impl Fn(&str) -> Result<Option<String>, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let home = match (get("HF_HOME")?, get("XDG_CACHE_HOME")?, get("HOME")?) {
            (Some(home), _, _) => Some(PathBuf::from(home)),
            (None, Some(cache), _) => Some(Path::new(&cache).join("huggingface")),
            (None, None, Some(home)) => Some(Path::new(&home).join(".cache/huggingface")),
            (None, None, None) => None,
        };
        let cache = match (get("HF_HUB_CACHE")?, &home) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => home.join("hub"),
            (None, None) => {
                return Err(PolicyError::bad(
                    Path::new("HF_HOME"),
                    "there is no place for the hub's cache: HOME is not set either",
                    "set HF_HOME to a directory",
                ));
            }
        };
        let endpoint = get("HF_ENDPOINT")?.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(PolicyError::bad(
                Path::new("HF_ENDPOINT"),
                format!("{endpoint:?} is not a URL"),
                "begin it with https://",
            ));
        }
        let offline = get("HF_HUB_OFFLINE")?.is_some_and(|value| {
            matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "on" | "yes" | "true"
            )
        });
        let stored = || std::fs::read_to_string(home.as_ref()?.join("token")).ok();
        let token = get("HF_TOKEN")?
            .or_else(stored)
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        Ok(Self {
            cache,
            endpoint,
            offline,
            token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HubSettings, PolicyError> {
        HubSettings::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        })
    }

    #[test]
    fn the_nearest_variable_wins() {
        let home = ("HOME", "/h");
        let cache = |variables: &[(&str, &str)]| read(variables).unwrap().cache;
        assert_eq!(cache(&[home]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(cache(&[home, ("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert!(read(&[]).is_err());
    }

    #[test]
    fn offline_and_endpoint_and_token() {
        let home = ("HOME", "/nowhere");
        for (value, offline) in [
            ("1", true),
            ("TRUE", true),
            ("yes", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(
                read(&[home, ("HF_HUB_OFFLINE", value)]).unwrap().offline,
                offline
            );
        }
        let mirror = read(&[
            home,
            ("HF_ENDPOINT", "http://127.0.0.1:1/"),
            ("HF_TOKEN", " t\n"),
        ]);
        let mirror = mirror.unwrap();
        assert_eq!(mirror.endpoint, "http://127.0.0.1:1");
        assert_eq!(mirror.token.as_deref(), Some("t"));
        assert!(read(&[home, ("HF_ENDPOINT", "ftp://x")]).is_err());
        assert_eq!(read(&[home]).unwrap().token, None);
    }

    #[test]
    fn the_stored_token_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "stored\n").unwrap();
        let home = dir.path().to_str().unwrap();
        assert_eq!(
            read(&[("HF_HOME", home)]).unwrap().token.as_deref(),
            Some("stored")
        );
    }
}
