//! How the identities of traces and requests are written.

use std::borrow::Cow;

use super::ConfigError;
use super::reader::Reader;

/// Widest number; nobody wants a line of zeros.
const WIDEST: usize = 128;

/// The formats of both identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFormat {
    /// Of traces.
    pub trace: NumberFormat,
    /// Of requests.
    pub request: NumberFormat,
}

/// A format of whole numbers, as Python's `format` has it: `032x`, `#x`, `d`, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    width: usize,
    has_zeros: bool,
    has_prefix: bool,
    base: Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Binary,
    Octal,
    Decimal,
    Hexadecimal,
    UpperHexadecimal,
}

impl Default for IdentityFormat {
    fn default() -> Self {
        Self { trace: NumberFormat::hexadecimal(32), request: NumberFormat::hexadecimal(16) }
    }
}

impl IdentityFormat {
    pub(super) fn read(root: &Reader<'_>) -> Result<Self, ConfigError> {
        let default = Self::default();
        Ok(Self {
            trace: read(root, "logging.access.format.trace_id")?.unwrap_or(default.trace),
            request: read(root, "logging.access.format.span_id")?.unwrap_or(default.request),
        })
    }
}

fn read(root: &Reader<'_>, key: &str) -> Result<Option<NumberFormat>, ConfigError> {
    let Some(text) = root.text(key)? else { return Ok(None) };
    let wrong = || ConfigError::Value {
        key: key.to_owned(),
        expected: "a number format such as `032x`",
        found: format!("{text:?}"),
    };
    NumberFormat::parse(text).map(Some).ok_or_else(wrong)
}

impl NumberFormat {
    const fn hexadecimal(width: usize) -> Self {
        Self { width, has_zeros: true, has_prefix: false, base: Base::Hexadecimal }
    }

    /// Reads `[#][0][width][type]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (has_prefix, rest) = text.strip_prefix('#').map_or((false, text), |rest| (true, rest));
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (width, base) = rest.split_at(digits);
        let base = match base {
            "b" => Base::Binary,
            "o" => Base::Octal,
            "" | "d" | "n" => Base::Decimal,
            "x" => Base::Hexadecimal,
            "X" => Base::UpperHexadecimal,
            _ => return None,
        };
        let has_zeros = width.starts_with('0');
        let width = if width.is_empty() { 0 } else { width.parse().ok()? };
        (width <= WIDEST).then_some(Self { width, has_zeros, has_prefix, base })
    }

    /// Writes an identity, which is kept as hexadecimal digits.
    pub fn show<'a>(&self, identity: &'a str) -> Cow<'a, str> {
        if *self == Self::hexadecimal(identity.len()) {
            return Cow::Borrowed(identity);
        }
        u128::from_str_radix(identity, 16).map_or(Cow::Borrowed(identity), |n| Cow::Owned(self.write(n)))
    }

    fn write(&self, number: u128) -> String {
        let (prefix, digits) = match self.base {
            Base::Binary => ("0b", format!("{number:b}")),
            Base::Octal => ("0o", format!("{number:o}")),
            Base::Decimal => ("", number.to_string()),
            Base::Hexadecimal => ("0x", format!("{number:x}")),
            Base::UpperHexadecimal => ("0X", format!("{number:X}")),
        };
        let prefix = if self.has_prefix { prefix } else { "" };
        if self.has_zeros {
            format!("{prefix}{digits:0>width$}", width = self.width.saturating_sub(prefix.len()))
        } else {
            format!("{:>width$}", format!("{prefix}{digits}"), width = self.width)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_pythons() {
        for (format, expected) in [
            ("016x", "00000000000000ff"),
            ("x", "ff"),
            ("#06X", "0X00FF"),
            ("d", "255"),
            ("", "255"),
            ("5", "  255"),
            ("010b", "0011111111"),
            ("#o", "0o377"),
        ] {
            assert_eq!(NumberFormat::parse(format).unwrap().show("00000000000000ff"), expected, "{format}");
        }
        for wrong in ["s", "32.1x", "<5d", "-", "999x", "٣x"] {
            assert_eq!(NumberFormat::parse(wrong), None, "{wrong}");
        }
        let short = "ff";
        assert!(matches!(NumberFormat::hexadecimal(2).show(short), Cow::Borrowed("ff")));
    }
}
