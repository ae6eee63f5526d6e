//! Identities of requests and traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::HeaderMap;

/// An odd step through all 64-bit numbers, with well-mixed bits (splitmix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Gives identities that differ from each other, and from those of other servers.
#[derive(Debug)]
pub struct Identities {
    next: AtomicU64,
}

/// The identities of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The trace's, 32 hexadecimal digits; the client's own if it sent one.
    pub trace: Arc<str>,
    /// The request's, 16 hexadecimal digits.
    pub request: Arc<str>,
    /// Whether the client asked for the trace to be kept.
    pub is_sampled: bool,
}

impl Identities {
    /// Begins at a random place; a system without randomness begins at the same.
    pub fn new() -> Self {
        let mut seed = [0; 8];
        // Identities tell log lines apart, they guard nothing.
        let _ = getrandom::fill(&mut seed);
        Self { next: AtomicU64::new(u64::from_le_bytes(seed)) }
    }

    /// Gives the identity of a request with these headers.
    pub fn identify(&self, headers: &HeaderMap) -> Identity {
        let request = format!("{:016x}", self.number()).into();
        let parent = headers.get("traceparent").and_then(|value| parse_traceparent(value.to_str().ok()?));
        let (trace, is_sampled) = match parent {
            Some((trace, is_sampled)) => (trace.into(), is_sampled),
            None => (format!("{:016x}{:016x}", self.number(), self.number()).into(), false),
        };
        Identity { trace, request, is_sampled }
    }

    fn number(&self) -> u64 {
        let mut number = self.next.fetch_add(STEP, Ordering::Relaxed);
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

impl Default for Identities {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a W3C trace context: version, trace, parent, flags.
fn parse_traceparent(value: &str) -> Option<(&str, bool)> {
    let mut parts = value.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let is_known = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
    if !is_known || !is_hex(flags, 2) || is_zero(trace) || is_zero(parent) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identities_differ() {
        let identities = Identities::new();
        let all: BTreeSet<Arc<str>> =
            (0..10_000).map(|_| identities.identify(&HeaderMap::new()).request).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|request| request.len() == 16));
    }

    #[test]
    fn a_clients_trace_is_adopted() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let adopt = |value: &str| {
            let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())]);
            Identities::new().identify(&headers)
        };
        let identity = adopt(&format!("00-{trace}-00f067aa0ba902b7-01"));
        assert_eq!((&*identity.trace, identity.is_sampled), (trace, true));
        for wrong in ["", "00", "00-x-y-z", &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))] {
            assert_ne!(&*adopt(wrong).trace, trace);
            assert_eq!(adopt(wrong).trace.len(), 32);
        }
    }
}
