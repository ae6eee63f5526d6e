//! How a hub is spoken to, from the variables that its own client reads too.

use std::fs;
use std::path::PathBuf;

use crate::env::Environment;
use crate::http::Backoff;
use crate::redact::Secret;

/// The public hub.
const PUBLIC: &str = "https://huggingface.co";
/// Connections in use at a time: beyond some eight, the line is full or the server limits.
const CONNECTIONS: usize = 8;

/// How hubs are spoken to, and where what they give is kept.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The hub of models that name none.
    pub endpoint: String,
    /// What the user is known by.
    pub token: Option<Secret>,
    /// The directory of all repositories' files.
    pub cache: PathBuf,
    /// Whether nothing may be asked of a hub.
    pub is_offline: bool,
    /// How what fails by chance is tried again.
    pub backoff: Backoff,
    /// Most connections at a time.
    pub connections: usize,
}

impl HubSettings {
    /// Reads the variables of the hub's own client: `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`,
    /// `HF_HUB_CACHE` and `HF_HUB_OFFLINE`, with the older names that it still takes. `None` when nothing says where the
    /// cache is.
    pub fn of(environment: &Environment) -> Option<Self> {
        let expanded = |name| environment.text(name).map(|text| PathBuf::from(environment.expand(text)));
        let standard = || {
            let cache = expanded("XDG_CACHE_HOME").or_else(|| Some(environment.path("HOME")?.join(".cache")));
            Some(cache?.join("huggingface"))
        };
        let home = expanded("HF_HOME").or_else(standard);
        let cache = expanded("HF_HUB_CACHE")
            .or_else(|| expanded("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")))?;
        let token_path = expanded("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let endpoint = environment.text("HF_ENDPOINT").unwrap_or(PUBLIC).trim_end_matches('/').to_owned();
        Some(Self {
            endpoint,
            token: token(environment, token_path),
            cache: std::path::absolute(&cache).unwrap_or(cache),
            is_offline: environment.is_on("HF_HUB_OFFLINE") || environment.is_on("TRANSFORMERS_OFFLINE"),
            backoff: Backoff::default(),
            connections: CONNECTIONS,
        })
    }
}

fn token(environment: &Environment, path: Option<PathBuf>) -> Option<Secret> {
    let clean = |text: &str| text.split_whitespace().collect::<String>();
    let named = || {
        let names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
        names.iter().find_map(|name| environment.text(name)).map(clean)
    };
    let kept = || fs::read_to_string(path?).ok().map(|text| clean(&text));
    if environment.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    named().or_else(kept).filter(|token| !token.is_empty()).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> HubSettings {
        HubSettings::of(&pairs.iter().copied().collect()).unwrap()
    }

    #[test]
    fn the_cache_is_where_the_hubs_own_client_has_it() {
        for (pairs, path) in [
            (vec![("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (vec![("HOME", "/h"), ("HF_HOME", "~/hf")], "/h/hf/hub"),
            (vec![("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (vec![("HF_HOME", "/hf"), ("HF_HUB_CACHE", "$HF_HOME/c")], "/hf/c"),
        ] {
            assert_eq!(settings(&pairs).cache, PathBuf::from(path));
        }
        assert!(HubSettings::of(&Environment::default()).is_none());
    }

    #[test]
    fn tokens_are_found_and_never_shown() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_kept\n").unwrap();
        let path = home.path().to_str().unwrap();
        let token = |pairs: &[(&str, &str)]| {
            let settings = settings(pairs);
            assert!(!format!("{settings:?}").contains("hf_"));
            settings.token.map(|token| token.expose().to_owned())
        };
        assert_eq!(token(&[("HF_HOME", path)]).as_deref(), Some("hf_kept"));
        assert_eq!(token(&[("HF_HOME", path), ("HF_TOKEN", "hf_a\r\n")]).as_deref(), Some("hf_a"));
        assert_eq!(token(&[("HF_HOME", path), ("HUGGING_FACE_HUB_TOKEN", "hf_b")]).as_deref(), Some("hf_b"));
        assert_eq!(token(&[("HF_HOME", path), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(token(&[("HF_HOME", "/nonexistent")]), None);
    }

    #[test]
    fn the_endpoint_has_no_slash_at_its_end() {
        assert_eq!(settings(&[("HOME", "/h")]).endpoint, PUBLIC);
        let settings = settings(&[("HOME", "/h"), ("HF_ENDPOINT", "http://hub/"), ("HF_HUB_OFFLINE", "yes")]);
        assert_eq!((settings.endpoint.as_str(), settings.is_offline), ("http://hub", true));
    }
}
