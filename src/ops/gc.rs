//! `models gc`: deletes old models that no bento needs.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use thiserror::Error;

use super::models::used_models;
use crate::parallel;
use crate::store::{self, Home, Model, tree_size};
use crate::tag::Tag;

/// What may go. A model has to fit everything that is set, and nothing goes when nothing is set.
#[derive(Clone, Debug, Default)]
pub struct GcSettings {
    /// Newest versions of each name that stay.
    pub keep: Option<usize>,
    /// How old a model has to be.
    pub older_than: Option<Age>,
    /// Labels that a model has to have, with their values where one is given.
    pub labels: Vec<(String, Option<String>)>,
}

impl GcSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.keep.is_none() && self.older_than.is_none() && self.labels.is_empty()
    }
}

/// A span of time as people type it: `90d`, `2w`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(SignedDuration);

impl Age {
    /// How long it is.
    pub(super) fn duration(self) -> SignedDuration {
        self.0
    }
}

/// A text is no span of time.
#[derive(Debug, Error)]
#[error("`{text}` is no age: write a number and a unit, as in `90d`, `2w`, `12h` or `30m`")]
pub struct ParseAgeError {
    text: String,
}

impl FromStr for Age {
    type Err = ParseAgeError;

    fn from_str(text: &str) -> Result<Self, ParseAgeError> {
        let age = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let hours = match unit {
                "m" => return SignedDuration::try_from_mins(number.parse().ok()?),
                "h" => 1,
                "d" => 24,
                "w" => 7 * 24,
                _ => return None,
            };
            SignedDuration::try_from_hours(number.parse::<i64>().ok()?.checked_mul(hours)?)
        };
        let age = age().filter(|age| !age.is_negative());
        age.map(Self).ok_or_else(|| ParseAgeError { text: text.to_owned() })
    }
}

/// A model that may go.
#[derive(Clone, Debug, Serialize)]
pub struct Garbage {
    /// The model.
    pub tag: Tag,
    /// Bytes that its directory has.
    pub size: u64,
    /// When it was made.
    pub creation_time: String,
}

/// What may go, and what stays only because it cannot be judged.
#[derive(Debug)]
pub struct Plan {
    /// The models that may go, by tag.
    pub garbage: Vec<Garbage>,
    /// Models and bentos that cannot be read.
    pub broken: Vec<store::Error>,
}

/// Finds what may go. Models that a bento needs stay, whatever the settings say; a bento that cannot be read could need any
/// model, so that nothing goes while there is one.
pub fn plan(settings: &GcSettings, home: &Home, now: Timestamp) -> Result<Plan, store::Error> {
    let listing = home.models().list(None)?;
    let mut broken = listing.broken;
    let (used, unreadable) = used_models(home)?;
    let is_judged = unreadable.is_empty();
    broken.extend(unreadable);
    if settings.is_empty() || !is_judged {
        return Ok(Plan { garbage: Vec::new(), broken });
    }
    let candidates = candidates(listing.items, settings, &used, now);
    let measure = |model: &Model| Garbage {
        tag: model.info.tag.clone(),
        size: tree_size(&model.path).map(|size| size.bytes).unwrap_or_default(),
        creation_time: model.info.creation_time.to_string(),
    };
    let mut garbage = parallel::map(&candidates, measure);
    garbage.sort_by(|one, other| one.tag.cmp(&other.tag));
    Ok(Plan { garbage, broken })
}

/// Those of the models that fit the settings and are not used.
fn candidates(
    mut models: Vec<Model>,
    settings: &GcSettings,
    used: &BTreeSet<Tag>,
    now: Timestamp,
) -> Vec<Model> {
    // Newest first; of two of the same time, the one that `latest` means.
    let age = |model: &Model| (model.info.creation_time.timestamp(), model.info.tag.clone());
    models.sort_by_cached_key(|model| std::cmp::Reverse(age(model)));
    let mut newer: BTreeMap<String, usize> = BTreeMap::new();
    let fits = |model: &Model| {
        let newer = newer.entry(model.info.tag.name().to_owned()).or_default();
        let is_kept = settings.keep.is_some_and(|keep| *newer < keep);
        *newer += 1;
        let age = now.duration_since(model.info.creation_time.timestamp());
        let is_young = settings.older_than.is_some_and(|least| age < least.0);
        let has = |(key, value): &(String, Option<String>)| {
            let mut labels = model.info.labels.iter();
            labels.any(|(name, text)| name == key && value.as_ref().is_none_or(|value| text == value))
        };
        !is_kept && !is_young && settings.labels.iter().all(has) && !used.contains(&model.info.tag)
    };
    models.retain(fits);
    models
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        let hours = |text: &str| text.parse::<Age>().map(|age| age.0.as_hours()).ok();
        assert_eq!(hours("90d"), Some(2160));
        assert_eq!(hours("2w"), Some(336));
        assert_eq!(hours("12h"), Some(12));
        assert_eq!(hours("120m"), Some(2));
        for text in ["", "d", "5", "-1d", "1.5d", "9999999999999999999d", "9999999999999999d", "5é", "5y"] {
            assert_eq!(hours(text), None, "{text}");
        }
    }
}
