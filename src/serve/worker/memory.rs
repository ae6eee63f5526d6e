//! How much memory a worker holds, and when that is too much.
//!
//! A worker that leaks is replaced before the system ends it: a new one is started, and when that takes calls the old
//! one finishes its own.

use std::fmt;
use std::time::Duration;

use rustix::process::Pid;

/// How often is looked. Memory that is lost call by call does not grow by much in that time, and one look takes 10 µs.
pub const LOOK: Duration = Duration::from_secs(1);

/// What the units of memory with an `i` are powers of.
const KIBI: f64 = 1024.0;

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(pub u64);

impl Memory {
    /// Reads an amount as Kubernetes writes them: bytes, or a number with `Ki`, `Mi`, `Gi`, `Ti`, `k`, `M`, `G`, `T`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit: f64 = match unit.trim() {
            "" | "B" => return number.parse().ok().filter(|bytes| *bytes > 0).map(Self),
            "k" | "K" | "KB" => 1e3,
            "Ki" | "KiB" => KIBI,
            "M" | "MB" => 1e6,
            "Mi" | "MiB" => KIBI * KIBI,
            "G" | "GB" => 1e9,
            "Gi" | "GiB" => KIBI * KIBI * KIBI,
            "T" | "TB" => 1e12,
            "Ti" | "TiB" => KIBI * KIBI * KIBI * KIBI,
            _ => return None,
        };
        Self::scaled(number, unit)
    }

    /// Returns what a process holds in memory; `None` when it is gone.
    pub fn of(process: Pid) -> Option<Self> {
        let path = format!("/proc/{}/statm", process.as_raw_nonzero());
        let statm = std::fs::read_to_string(path).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(Self(pages.saturating_mul(rustix::param::page_size() as u64)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be of that range"
    )]
    fn scaled(number: &str, unit: f64) -> Option<Self> {
        let bytes = number.parse::<f64>().ok()? * unit;
        (1.0..1e18).contains(&bytes).then_some(Self(bytes as u64))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        let bytes = |text| Memory::parse(text).map(|memory| memory.0);
        assert_eq!(bytes("1000"), Some(1000));
        assert_eq!(bytes("512Mi"), Some(512 << 20));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("2G"), Some(2_000_000_000));
        assert_eq!(bytes(" 1 TiB "), Some(1 << 40));
        for wrong in ["", "Gi", "-1", "0", "0Mi", "1.5", "5 apples", "1e3", "9999999999Ti", "NaN"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_process_holds_memory() {
        let own = Memory::of(rustix::process::getpid()).unwrap();
        assert!((1 << 20..1 << 36).contains(&own.0), "{own}");
    }
}
