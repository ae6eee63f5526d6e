//! Keeps secrets out of messages: in URLs, in headers, and in what servers and other programs say.

use std::fmt;

use url::Url;

/// What stands in place of a secret.
pub const MASK: &str = "***";
/// Query parameters whose values are no secrets and help to understand a request; all others are masked, because
/// signed URLs and upload sessions carry credentials under many names.
const PLAIN_PARAMETERS: [&str; 9] =
    ["account", "digest", "from", "last", "mount", "n", "ns", "scope", "service"];
/// Names after which a value is a secret, in JSON, headers, forms and assignments.
const SECRET_NAMES: [&str; 11] = [
    "access_token",
    "auth",
    "authorization",
    "identitytoken",
    "passwd",
    "password",
    "proxy-authorization",
    "refresh_token",
    "registrytoken",
    "secret",
    "token",
];
/// Words that follow `Basic` and `Bearer` in sentences and challenges, where there is nothing to hide.
const PLAIN_AFTER_SCHEME: [&str; 9] = [
    "access",
    "auth",
    "authentication",
    "authorization",
    "challenge",
    "credentials",
    "realm",
    "token",
    "tokens",
];

/// A password or token: shown as `***` by everything but [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// A URL as it may be shown: without user, password and fragment, and with the values of most parameters masked.
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        // Both fail only for URLs without a host, which have neither user nor password.
        let _ = shown.set_username(MASK);
        let _ = shown.set_password(None);
    }
    if url.query().is_some() {
        let mask = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            let is_plain = PLAIN_PARAMETERS.contains(&name.as_ref());
            format!("{name}={}", if is_plain { value.as_ref() } else { MASK })
        };
        let query: Vec<_> = url.query_pairs().map(mask).collect();
        shown.set_query(None);
        return format!("{shown}?{}", query.join("&"));
    }
    shown.into()
}

/// A message of a server or another program as it may be shown.
pub fn text(message: &str) -> String {
    let message = mask_user_info(message);
    let message = mask_after_schemes(&message);
    mask_after_names(&message)
}

/// Masks what stands between `://` and `@` in the host part of every URL.
fn mask_user_info(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find("://") {
        let (head, tail) = rest.split_at(start + "://".len());
        shown.push_str(head);
        let is_end = |letter: char| letter.is_whitespace() || matches!(letter, '/' | '?' | '#' | '"' | '`');
        let authority = &tail[..tail.find(is_end).unwrap_or(tail.len())];
        rest = match authority.rfind('@') {
            Some(at) => {
                shown.push_str(MASK);
                &tail[at..]
            }
            None => tail,
        };
    }
    shown + rest
}

/// Masks the word after `Basic` and `Bearer`.
fn mask_after_schemes(message: &str) -> String {
    mask_values(message, &["basic", "bearer"], |after| {
        let gap = after.len() - after.trim_start_matches([' ', '\t']).len();
        let word: String = after[gap..].chars().take_while(char::is_ascii_alphabetic).collect();
        let is_plain = PLAIN_AFTER_SCHEME.contains(&word.to_ascii_lowercase().as_str());
        (gap > 0 && !is_plain).then_some(gap)
    })
}

/// Masks the value after `name=`, `name: ` and `"name": "`.
fn mask_after_names(message: &str) -> String {
    mask_values(message, &SECRET_NAMES, |after| {
        let unquoted = after.trim_start_matches(['"', '\'']);
        let separator = unquoted.trim_start().strip_prefix([':', '='])?;
        let value = separator.trim_start().trim_start_matches(['"', '\'']);
        Some(after.len() - value.len())
    })
}

/// Finds each of `names` as a word and masks the value at the offset behind it that `value_at` gives.
fn mask_values(message: &str, names: &[&str], value_at: impl Fn(&str) -> Option<usize>) -> String {
    let lower = message.to_ascii_lowercase();
    let mut shown = String::with_capacity(message.len());
    let mut position = 0;
    while let Some((start, name)) = next_word(&lower, position, names) {
        let end = start + name.len();
        shown.push_str(&message[position..end]);
        position = end;
        if let Some(offset) = value_at(&message[end..]) {
            let value = &message[end + offset..];
            let is_end =
                |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | ',' | '&' | '}');
            let length = value.find(is_end).unwrap_or(value.len());
            // `Authorization: Basic …`: the scheme's own value has been masked before.
            let is_scheme = ["basic", "bearer"].iter().any(|name| value[..length].eq_ignore_ascii_case(name));
            if length > 0 && !is_scheme {
                shown.push_str(&message[end..end + offset]);
                shown.push_str(MASK);
                position = end + offset + length;
            }
        }
    }
    shown + &message[position..]
}

/// The first of `names` at or after `from` that is not part of a longer word.
fn next_word<'a>(lower: &str, from: usize, names: &[&'a str]) -> Option<(usize, &'a str)> {
    let is_letter =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = lower.as_bytes();
    let found = names.iter().filter_map(|name| {
        let mut matches = lower[from..].match_indices(name).map(|(index, _)| from + index);
        let is_word = |start: &usize| {
            !is_letter(start.checked_sub(1).and_then(|before| bytes.get(before)))
                && !is_letter(bytes.get(start + name.len()))
        };
        matches.find(is_word).map(|start| (start, *name))
    });
    found.min_by_key(|(start, name)| (*start, std::cmp::Reverse(name.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_keep_what_helps_and_lose_what_opens_doors() {
        let shown = |text: &str| url(&text.parse().unwrap());
        assert_eq!(
            shown("https://me:pw@h:1/p?digest=sha256%3Aab&X-Amz-Signature=s3cret#f"),
            "https://***@h:1/p?digest=sha256:ab&X-Amz-Signature=***"
        );
        assert_eq!(shown("https://h/v2/?n=1&_state=abc"), "https://h/v2/?n=1&_state=***");
        assert_eq!(shown("http://127.0.0.1:5000/v2/"), "http://127.0.0.1:5000/v2/");
    }

    #[test]
    fn messages_that_hide_nothing_stay() {
        for message in [
            "unauthorized: authentication required",
            "Basic authentication failed for `x`",
            "Bearer realm=\"https://auth.example/token\",service=\"registry\"",
            "the token has expired",
            "https://host/path@1?x",
        ] {
            assert_eq!(text(message), message);
        }
    }

    #[test]
    fn secrets_are_debug_printed_as_a_mask() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }

    proptest! {
        #[test]
        fn no_secret_survives(secret in "[A-Za-z0-9+_.-]{7,40}[0-9]") {
            let secret = format!("Zq{secret}");
            for message in [
                format!("GET https://user:{secret}@host/path failed"),
                format!("https://{secret}@host"),
                format!("Authorization: Bearer {secret}"),
                format!("authorization: Basic {secret}, then more"),
                format!("authorization: {secret}"),
                format!("{{\"token\": \"{secret}\", \"expires_in\": 60}}"),
                format!("{{\"access_token\":\"{secret}\"}}"),
                format!("password={secret}&grant_type=x"),
                format!("refresh_token={secret}"),
                format!("bearer {secret} and bearer {secret}"),
            ] {
                let shown = text(&message);
                prop_assert!(!shown.contains(&secret), "{} -> {}", message, shown);
                prop_assert!(shown.contains(MASK));
            }
            let address: Url = format!("https://u:{secret}@h/p?sig={secret}&digest=d#{secret}").parse().unwrap();
            prop_assert!(!url(&address).contains(&secret));
        }

        #[test]
        fn any_text_is_taken(message in ".{0,200}") {
            let once = text(&message);
            prop_assert_eq!(text(&once).len(), text(&text(&once)).len());
        }
    }
}
