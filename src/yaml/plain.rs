//! Which type an unquoted scalar has.
//!
//! These are the implicit resolvers of `PyYAML`: some words of YAML 1.1, its own idea of numbers
//! (a float needs a dot, and a sign in its exponent) and its timestamps.

/// What an unquoted scalar means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Int(i128),
    /// A whole number too long for us: it stays text to us, and is quoted as a number would be.
    LongInt,
    Float(f64),
    Timestamp,
    /// `<<`, `=` and lone indicators, which are special to the reader.
    Special,
    Text,
}

/// Stands for every number that is not less.
const TOO_LONG: i128 = i128::MAX;

/// Resolves the text of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Plain::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Plain::Bool(false),
        "<<" | "=" | "!" | "&" | "*" => Plain::Special,
        _ if text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => number(text),
        _ => Plain::Text,
    }
}

fn number(text: &str) -> Plain {
    // Floats are tried first, as there.
    if let Some(value) = float(text) {
        return Plain::Float(value);
    }
    if let Some(value) = int(text) {
        return if value.unsigned_abs() < TOO_LONG.unsigned_abs() {
            Plain::Int(value)
        } else {
            Plain::LongInt
        };
    }
    if is_timestamp(text) { Plain::Timestamp } else { Plain::Text }
}

fn int(text: &str) -> Option<i128> {
    let (negative, digits) = split_sign(text);
    let magnitude = if let Some(binary) = digits.strip_prefix("0b") {
        radix(binary, 2)?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)?
    } else if digits == "0" {
        0
    } else if let Some(octal) = digits.strip_prefix('0') {
        radix(octal, 8)?
    } else if digits.contains(':') {
        sexagesimal(digits)?
    } else {
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        radix(digits, 10)?
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Reads digits with underscores; at least one character has to be there.
fn radix(digits: &str, base: u32) -> Option<i128> {
    let all = !digits.is_empty() && digits.chars().all(|c| c == '_' || c.is_digit(base));
    let plain = digits.replace('_', "");
    // Only underscores: the reader there fails on it, so it has to be quoted all the same.
    if all && plain.is_empty() {
        return Some(0);
    }
    if all { Some(i128::from_str_radix(&plain, base).unwrap_or(TOO_LONG)) } else { None }
}

fn sexagesimal(digits: &str) -> Option<i128> {
    let mut parts = digits.split(':');
    let mut value = radix(parts.next().filter(|first| first.starts_with(|c| matches!(c, '1'..='9')))?, 10)?;
    for part in parts {
        value = value.checked_mul(60)?.checked_add(i128::from(sixtieth(part)?))?;
    }
    Some(value)
}

fn sixtieth(part: &str) -> Option<u8> {
    let two = matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    if two { part.parse().ok() } else { None }
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (negative, body) = split_sign(text);
    let (whole, rest) = body.split_once('.')?;
    let signed = text.len() != body.len();
    let value = if whole.contains(':') {
        sexagesimal_float(whole, rest)?
    } else {
        let (fraction, exponent) = split_exponent(rest)?;
        let digits_only = |part: &str| part.chars().all(|c| c == '_' || c.is_ascii_digit());
        let starts_with_digit = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let shaped =
            if whole.is_empty() { !signed && starts_with_digit(fraction) } else { starts_with_digit(whole) };
        if !shaped || !digits_only(whole) || !digits_only(fraction) {
            return None;
        }
        format!("{whole}.{fraction}0e{exponent}").replace('_', "").trim_start_matches('+').parse().ok()?
    };
    Some(if negative { -value } else { value })
}

/// Splits `5e-07` into fraction and exponent; an exponent needs its sign.
fn split_exponent(rest: &str) -> Option<(&str, &str)> {
    let Some(at) = rest.find(['e', 'E']) else { return Some((rest, "0")) };
    let exponent = &rest[at + 1..];
    let digits = exponent.strip_prefix(['+', '-'])?;
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then_some((&rest[..at], exponent))
}

fn sexagesimal_float(whole: &str, rest: &str) -> Option<f64> {
    let fits = rest.chars().all(|c| c == '_' || c.is_ascii_digit());
    let mut parts = whole.split(':');
    let first = parts.next().filter(|first| first.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut value = format!("{}.0", radix(first, 10)?).parse::<f64>().ok()?;
    for part in parts {
        value = value.mul_add(60.0, f64::from(sixtieth(part)?));
    }
    let fraction: f64 = format!("0.{}0", rest.replace('_', "")).parse().ok()?;
    fits.then_some(value + fraction)
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `2026-11-21`, or a date and time in one of the accepted spellings.
fn is_timestamp(text: &str) -> bool {
    let mut scan = Scan(text.as_bytes());
    if !(scan.digits(4, 4) && scan.byte(b'-')) {
        return false;
    }
    let after_year = scan.0;
    if scan.digits(2, 2) && scan.byte(b'-') && scan.digits(2, 2) && scan.0.is_empty() {
        return true;
    }
    scan.0 = after_year;
    scan.digits(1, 2)
        && scan.byte(b'-')
        && scan.digits(1, 2)
        && scan.time()
        && scan.zone()
        && scan.0.is_empty()
}

/// What is left to read of a timestamp.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn digits(&mut self, least: usize, most: usize) -> bool {
        let count = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        self.0 = &self.0[count..];
        count >= least
    }

    fn byte(&mut self, wanted: u8) -> bool {
        let found = self.0.first() == Some(&wanted);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn blanks(&mut self) -> bool {
        let count = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.0 = &self.0[count..];
        count > 0
    }

    fn time(&mut self) -> bool {
        let clock = (self.byte(b'T') || self.byte(b't') || self.blanks())
            && self.digits(1, 2)
            && self.byte(b':')
            && self.digits(2, 2)
            && self.byte(b':')
            && self.digits(2, 2);
        if clock && self.byte(b'.') {
            self.digits(0, usize::MAX);
        }
        clock
    }

    fn zone(&mut self) -> bool {
        if self.0.is_empty() {
            return true;
        }
        self.blanks();
        if self.byte(b'Z') {
            return true;
        }
        let hours = (self.byte(b'+') || self.byte(b'-')) && self.digits(1, 2);
        hours && (!self.byte(b':') || self.digits(2, 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_resolve_as_in_pyyaml() {
        let cases = [
            ("yes", Plain::Bool(true)),
            ("y", Plain::Text),
            ("1e3", Plain::Text),
            ("1.0e-07", Plain::Float(1.0e-7)),
            ("3.10", Plain::Float(3.1)),
            ("017", Plain::Int(15)),
            ("0o17", Plain::Text),
            ("09", Plain::Text),
            ("1_000", Plain::Int(1000)),
            ("1:30", Plain::Int(90)),
            ("-0x1F", Plain::Int(-31)),
            (
                "-99999999999999999999999999999999999999",
                Plain::Int(-99_999_999_999_999_999_999_999_999_999_999_999_999),
            ),
            ("999999999999999999999999999999999999999999", Plain::LongInt),
            ("-0xffffffffffffffffffffffffffffffffffff", Plain::LongInt),
            (".5", Plain::Float(0.5)),
            ("-.5", Plain::Text),
            ("1.", Plain::Float(1.0)),
            (".", Plain::Text),
            ("2026-11-21", Plain::Timestamp),
            ("2026-1-1", Plain::Text),
            ("2026-1-1 1:02:03 +1", Plain::Timestamp),
            ("<<", Plain::Special),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }
}
