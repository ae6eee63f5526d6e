//! The names of models and bentos.
//!
//! A [`Tag`] is exact: a name and a version, both checked. A [`TagQuery`] is what people type: a
//! name alone, `name:latest`, a version, or the start of one. Only the store turns a query into a
//! tag.

use std::fmt;
use std::str::FromStr;

/// The longest name or version.
pub const MAX_LENGTH: usize = 63;

/// The version that means "the newest one".
pub const LATEST: &str = "latest";

/// RFC 4648 base32 in lower case, the alphabet of generated versions.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A name or version that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part breaks the grammar.
    #[error("{part} is not a valid BentoML tag: {}", reasons(*.is_too_long, *.has_bad_characters))]
    InvalidPart {
        /// The name or the version, in lower case.
        part: String,
        /// Whether it is longer than 63 characters.
        is_too_long: bool,
        /// Whether it has characters that are not allowed, or not allowed at its ends.
        has_bad_characters: bool,
    },
    /// Nothing follows the colon.
    #[error("{text} contains trailing ':'. Maybe you meant to use `{}:latest`?", text.trim_end_matches(':'))]
    TrailingColon {
        /// The whole text.
        text: String,
    },
    /// An exact tag was wanted.
    #[error("`{text}` has no version: an exact tag looks like `{text}:VERSION`")]
    NoVersion {
        /// The whole text.
        text: String,
    },
    /// `latest` is a pointer, not a version.
    #[error("`{name}:latest` cannot be created: `latest` always points to the newest version")]
    ReservedVersion {
        /// The name.
        name: String,
    },
    /// The system gave no random bytes for a new version.
    #[error("cannot generate a version for `{name}`")]
    Entropy {
        /// The name.
        name: String,
        /// Why.
        source: getrandom::Error,
    },
}

fn reasons(is_too_long: bool, has_bad_characters: bool) -> String {
    let length = is_too_long.then_some("a tag's name or version must be at most 63 characters in length");
    let characters = has_bad_characters.then_some(
        "a tag's name or version must consist of lowercase alphanumeric characters, '_', '-', or '.', and must \
         start and end with an alphanumeric character",
    );
    let all: Vec<_> = length.into_iter().chain(characters).collect();
    all.join(", and ")
}

/// An exact name and version.
///
/// Ordered by name, then by version as text, as listings are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    name: String,
    version: String,
}

impl Tag {
    /// Makes a tag; capitals become small letters.
    pub fn new(name: &str, version: &str) -> Result<Self, Error> {
        let (name, version) = (part(name)?, part(version)?);
        if version == LATEST {
            return Err(Error::ReservedVersion { name });
        }
        Ok(Self { name, version })
    }

    /// Makes a tag with a fresh version of 16 characters.
    pub fn generate(name: &str) -> Result<Self, Error> {
        let name = part(name)?;
        let mut entropy = [0; 10];
        getrandom::fill(&mut entropy).map_err(|source| Error::Entropy { name: name.clone(), source })?;
        Ok(Self { name, version: base32(entropy) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let query: TagQuery = text.parse()?;
        let version = query.version.ok_or_else(|| Error::NoVersion { text: text.to_owned() })?;
        Self::new(&query.name, &version)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}

impl serde::Serialize for Tag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name with or without a version, as typed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagQuery {
    name: String,
    version: Option<String>,
}

impl TagQuery {
    /// Asks for the newest version of a name.
    pub fn newest(name: &str) -> Result<Self, Error> {
        Ok(Self { name: part(name)?, version: None })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version as typed: exact, the start of one, or `latest`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether a lookup gives the newest version.
    pub fn wants_latest(&self) -> bool {
        self.version.as_deref().is_none_or(|version| version == LATEST)
    }
}

impl FromStr for TagQuery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((name, version)) = text.split_once(':') else {
            return Self::newest(text);
        };
        if version.is_empty() {
            return Err(Error::TrailingColon { text: text.to_owned() });
        }
        Ok(Self { name: part(name)?, version: Some(part(version)?) })
    }
}

impl From<Tag> for TagQuery {
    fn from(tag: Tag) -> Self {
        Self { name: tag.name, version: Some(tag.version) }
    }
}

impl fmt::Display for TagQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}:{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl serde::Serialize for TagQuery {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Says what was lowered in a typed tag, in the words of the warning for it.
pub fn lowercase_warning(typed: &str) -> Option<String> {
    let lowered = typed.to_lowercase();
    (lowered != typed).then(|| format!("Converting '{typed}' to lowercase: '{lowered}'."))
}

/// The default name of a bento: its service's name in snake case.
///
/// A run of capitals starts a new word when a small letter or digit follows it; a run of several
/// leaves its last capital to that word (`HTTPServer` is `http_server`).
pub fn snake_case(service: &str) -> String {
    let chars: Vec<char> = service.chars().collect();
    let mut snake = String::new();
    let mut at = 0;
    while at < chars.len() {
        let run = chars[at..].iter().take_while(|ch| ch.is_ascii_uppercase()).count();
        let follows = chars.get(at + run).is_some_and(|ch| ch.is_ascii_lowercase() || ch.is_ascii_digit());
        if run > 0 && follows {
            let lowered: String = chars[at..at + run].iter().map(char::to_ascii_lowercase).collect();
            let (head, last) = lowered.split_at(run - 1);
            if !head.is_empty() {
                snake.push('_');
                snake.push_str(head);
            }
            snake.push('_');
            snake.push_str(last);
            at += run;
        } else {
            let plain = run.max(1);
            snake.extend(&chars[at..at + plain]);
            at += plain;
        }
    }
    snake.trim_start_matches('_').to_owned()
}

/// Checks a name or version, lowering it first.
fn part(text: &str) -> Result<String, Error> {
    let part = text.to_lowercase();
    let is_too_long = part.chars().count() > MAX_LENGTH;
    let edge = |ch: Option<char>| ch.is_some_and(|ch| ch.is_ascii_lowercase() || ch.is_ascii_digit());
    let inside = |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || "-._".contains(ch);
    let has_bad_characters =
        !(edge(part.chars().next()) && edge(part.chars().last()) && part.chars().all(inside));
    if is_too_long || has_bad_characters {
        return Err(Error::InvalidPart { part, is_too_long, has_bad_characters });
    }
    Ok(part)
}

/// Writes 80 bits as 16 characters.
fn base32(bytes: [u8; 10]) -> String {
    let mut bits = [0; 16];
    bits[6..].copy_from_slice(&bytes);
    let bits = u128::from_be_bytes(bits);
    (0..16)
        .rev()
        .map(|group| {
            let index = usize::try_from((bits >> (group * 5)) & 31).expect("five bits fit");
            char::from(BASE32[index])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_have_sixteen_characters_of_base32() {
        assert_eq!(base32([0; 10]), "aaaaaaaaaaaaaaaa");
        assert_eq!(base32(*b"0123456789"), "gaytemzugu3doobz");
        let tag = Tag::generate("iris").expect("random bytes");
        assert_eq!(tag.version().len(), 16);
        assert_ne!(tag, Tag::generate("iris").expect("random bytes"));
    }

    #[test]
    fn texts_of_bad_tags_are_the_known_ones() {
        let bad = |text: &str| text.parse::<TagQuery>().expect_err("refused").to_string();
        insta::assert_snapshot!(bad("a/b"), @"a/b is not a valid BentoML tag: a tag's name or version must consist of lowercase alphanumeric characters, '_', '-', or '.', and must start and end with an alphanumeric character");
        insta::assert_snapshot!(bad(&"a".repeat(64)), @"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not a valid BentoML tag: a tag's name or version must be at most 63 characters in length");
        insta::assert_snapshot!(bad("a:"), @"a: contains trailing ':'. Maybe you meant to use `a:latest`?");
        for text in ["", "a:1.0+x", "a b", "é", "a:-", "-a", "a\n", "a:b:c"] {
            assert!(text.parse::<TagQuery>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn latest_is_a_question_not_a_version() {
        let query: TagQuery = "Iris:Latest".parse().expect("valid");
        assert!(query.wants_latest());
        assert_eq!(query.to_string(), "iris:latest");
        assert!("iris".parse::<TagQuery>().expect("valid").wants_latest());
        assert_eq!(Tag::new("iris", "latest"), Err(Error::ReservedVersion { name: "iris".into() }));
        assert_eq!(
            lowercase_warning("Iris:V1").as_deref(),
            Some("Converting 'Iris:V1' to lowercase: 'iris:v1'.")
        );
    }

    #[test]
    fn tags_sort_by_version_as_text() {
        let mut tags: Vec<Tag> = ["a:2", "a:10", "b:1"].map(|text| text.parse().expect("valid")).to_vec();
        tags.sort();
        assert_eq!(tags.iter().map(Tag::to_string).collect::<Vec<_>>(), ["a:10", "a:2", "b:1"]);
    }

    #[test]
    fn service_names_become_snake_case() {
        let cases = [
            ("MyService", "my_service"),
            ("HTTPServer", "http_server"),
            ("Service1", "service1"),
            ("iris_classifier", "iris_classifier"),
            ("V2Model", "v2_model"),
            ("ABC", "ABC"),
            ("GPT4All", "gp_t4_all"),
            ("Foo_Bar", "foo__bar"),
        ];
        for (service, expected) in cases {
            assert_eq!(snake_case(service), expected);
        }
    }

    proptest! {
        #[test]
        fn parsing_what_is_displayed_gives_the_same_tag(name in "[a-z0-9]([-._a-z0-9]{0,20}[a-z0-9])?", version in "[a-z0-9]{1,20}") {
            prop_assume!(version != LATEST);
            let tag = Tag::new(&name, &version).expect("valid");
            prop_assert_eq!(tag.to_string().parse::<Tag>(), Ok(tag));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            if let Ok(query) = text.parse::<TagQuery>() {
                prop_assert_eq!(query.to_string(), text.to_lowercase());
            }
        }
    }
}
