//! When an item was made.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

/// A moment as `model.yaml` and `bento.yaml` write it.
///
/// Ordered by the moment; displayed in the form of the original tool,
/// `2026-11-21T22:41:49.651064+00:00`.
#[derive(Clone, Debug)]
pub struct CreationTime {
    at: Timestamp,
    offset: Offset,
}

impl CreationTime {
    /// A moment, to be written in UTC with its microseconds.
    pub fn new(at: Timestamp) -> Self {
        Self { at, offset: Offset::UTC }
    }

    /// Reads any form that occurs: with or without zone, with `T` or a space, or a date alone.
    /// Without a zone it is UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(Self { at, offset: written_offset(text) });
        }
        let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(Date::into));
        let at = civil.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Self::new(at))
    }

    /// The moment.
    pub fn timestamp(&self) -> Timestamp {
        self.at
    }
}

/// The zone in which a text gives its time.
fn written_offset(text: &str) -> Offset {
    jiff::fmt::temporal::Pieces::parse(text)
        .ok()
        .and_then(|pieces| pieces.to_numeric_offset())
        .unwrap_or(Offset::UTC)
}

impl fmt::Display for CreationTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.offset.to_datetime(self.at);
        let micros = local.subsec_nanosecond() / 1000;
        write!(f, "{}", local.strftime("%Y-%m-%dT%H:%M:%S"))?;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        let minutes = self.offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }
}

impl PartialEq for CreationTime {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for CreationTime {}

impl PartialOrd for CreationTime {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CreationTime {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_form_is_read() {
        let cases = [
            ("2026-11-21T22:41:49.651064+00:00", "2026-11-21T22:41:49.651064+00:00"),
            ("2026-11-21T22:41:49+00:00", "2026-11-21T22:41:49+00:00"),
            ("2026-11-21 22:41:49.5", "2026-11-21T22:41:49.500000+00:00"),
            ("2026-11-21T22:41:49.000001+02:00", "2026-11-21T22:41:49.000001+02:00"),
            ("2026-11-21T22:41:49Z", "2026-11-21T22:41:49+00:00"),
            ("2026-11-21", "2026-11-21T00:00:00+00:00"),
            ("0001-01-01T00:00:00", "0001-01-01T00:00:00+00:00"),
        ];
        for (text, expected) in cases {
            let time = CreationTime::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(time.to_string(), expected);
        }
        assert!(CreationTime::parse("yesterday").is_none());
    }

    #[test]
    fn order_is_by_moment_and_not_by_text() {
        let earlier = CreationTime::parse("2026-01-01T01:00:00+02:00").unwrap();
        let later = CreationTime::parse("2026-01-01T00:00:00+00:00").unwrap();
        assert!(earlier < later);
    }
}
