//! What a registry asks for in `WWW-Authenticate` (RFC 9110, 11.6.1; RFC 6750, 3).

use std::collections::BTreeMap;

/// A kind of authorisation that ekiben can give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from another service.
    Bearer {
        /// URL of the service.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
    },
}

impl Challenge {
    /// The best challenge of all `WWW-Authenticate` headers: a token is better than a password.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut best = None;
        for (scheme, mut parameters) in headers.flat_map(parse) {
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameters.remove("realm")
            {
                return Some(Self::Bearer { realm, service: parameters.remove("service") });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                best = Some(Self::Basic);
            }
        }
        best
    }
}

/// Splits a header into challenges with their parameters.
fn parse(header: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|letter: char| !is_token(letter)).unwrap_or(rest.len());
        if end == 0 {
            return challenges;
        }
        let (word, after) = rest.split_at(end);
        let after_space = after.trim_start_matches([' ', '\t']);
        match after_space.strip_prefix('=') {
            Some(value) if !challenges.is_empty() => {
                let (value, after) = parameter_value(value.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = challenges.last_mut() {
                    parameters.insert(word.to_ascii_lowercase(), value);
                }
                rest = after;
            }
            // A parameter before any scheme is nothing that can be understood.
            Some(_) => return challenges,
            None => {
                challenges.push((word.to_owned(), BTreeMap::new()));
                rest = after_space;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choose(header: &str) -> Option<Challenge> {
        Challenge::choose(std::iter::once(header))
    }

    #[test]
    fn the_best_challenge_is_chosen() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        };
        for (header, expected) in [
            (r#"Basic realm="r""#, Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://a/t",service="reg",scope="repository:a:pull,push""#,
                Some(bearer("https://a/t", Some("reg"))),
            ),
            (
                r#"Basic realm="a, b", bearer realm = "https://a" , error="invalid_token""#,
                Some(bearer("https://a", None)),
            ),
            (r#"Bearer realm="a\"b""#, Some(bearer("a\"b", None))),
            ("Bearer", None),
            ("Negotiate", None),
            ("realm=x", None),
            ("", None),
        ] {
            assert_eq!(choose(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(header in ".{0,100}") {
            choose(&header);
        }
    }
}
