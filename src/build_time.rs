//! The one time stamp of everything that a build writes.

use jiff::Timestamp;
use thiserror::Error;

/// The time that images and their files bear: `SOURCE_DATE_EPOCH` where the user set it, else the epoch, so that the
/// same inputs give the same bytes at any time (<https://reproducible-builds.org/specs/source-date-epoch/>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildTime(Timestamp);

/// `SOURCE_DATE_EPOCH` is set to something else than a time.
#[derive(Debug, Error)]
#[error("`SOURCE_DATE_EPOCH` is `{value}`, which is not a number of seconds since 1970")]
pub struct BuildTimeError {
    /// The value as set.
    pub value: String,
}

impl BuildTime {
    /// The build time that the value of `SOURCE_DATE_EPOCH` names, if any.
    pub fn new(source_date_epoch: Option<&str>) -> Result<Self, BuildTimeError> {
        let Some(value) = source_date_epoch.filter(|value| !value.is_empty()) else {
            return Ok(Self::default());
        };
        let seconds = value.parse::<u32>().ok().map(i64::from);
        let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        time.map(Self).ok_or_else(|| BuildTimeError { value: value.to_owned() })
    }

    /// Seconds since the epoch, for tar headers.
    pub fn seconds(self) -> u64 {
        self.0.as_second().unsigned_abs()
    }

    /// RFC 3339, for image configurations.
    pub fn rfc3339(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// ISO 8601 with microseconds and offset, for `bento.yaml`.
    pub fn iso8601(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00").to_string()
    }
}

/// The moment at which a model or bento is made: `SOURCE_DATE_EPOCH` where the user set it, else now, for stores order
/// their items by it.
pub fn item_time(source_date_epoch: Option<&str>) -> Result<Timestamp, BuildTimeError> {
    match source_date_epoch.filter(|value| !value.is_empty()) {
        Some(_) => BuildTime::new(source_date_epoch).map(|time| time.0),
        None => Ok(Timestamp::now()),
    }
}

/// Seconds since the epoch, now: by which signatures are judged, and nothing that is written.
pub fn seconds_now() -> u64 {
    Timestamp::now().as_second().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_unless_told_otherwise() {
        assert_eq!(BuildTime::new(None).unwrap().rfc3339(), "1970-01-01T00:00:00Z");
        let time = BuildTime::new(Some("1700000000")).unwrap();
        assert_eq!((time.seconds(), time.rfc3339().as_str()), (1_700_000_000, "2023-11-14T22:13:20Z"));
        assert_eq!(time.iso8601(), "2023-11-14T22:13:20.000000+00:00");
        assert!(BuildTime::new(Some("yesterday")).is_err());
    }

    #[test]
    fn items_are_made_now_unless_told_otherwise() {
        assert_eq!(item_time(Some("7")).unwrap().as_second(), 7);
        assert!(item_time(None).unwrap().as_second() > 1_700_000_000);
        assert!(item_time(Some("now")).is_err());
    }
}
