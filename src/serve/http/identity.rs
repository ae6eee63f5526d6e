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
    sample_rate: f64,
}

/// The identities of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The trace's, 32 hexadecimal digits; the client's own if it sent one.
    pub trace: Arc<str>,
    /// The request's, 16 hexadecimal digits.
    pub request: Arc<str>,
    /// The client's span, if it sent one.
    pub parent: Option<u64>,
    /// Whether the trace is to be kept: the client asked for it, or it is one of those that are.
    pub is_sampled: bool,
}

impl Identities {
    /// Begins at a random place; a system without randomness begins at the same.
    ///
    /// `sample_rate` is the part of the traces without a parent that are kept.
    pub fn new(sample_rate: f64) -> Self {
        let mut seed = [0; 8];
        // Identities tell log lines apart, they guard nothing.
        let _ = getrandom::fill(&mut seed);
        Self { next: AtomicU64::new(u64::from_le_bytes(seed)), sample_rate }
    }

    /// Gives the identity of a call that belongs to a request.
    pub fn span(&self) -> Arc<str> {
        format!("{:016x}", self.number()).into()
    }

    /// Gives the identity of a request with these headers.
    pub fn identify(&self, headers: &HeaderMap) -> Identity {
        let request = format!("{:016x}", self.number()).into();
        let parent = headers.get("traceparent").and_then(|value| parse_traceparent(value.to_str().ok()?));
        let (trace, parent, is_sampled) = if let Some((trace, parent, is_sampled)) = parent {
            (trace.into(), Some(parent), is_sampled)
        } else {
            let (high, low) = (self.number(), self.number());
            (format!("{high:016x}{low:016x}").into(), None, is_kept(low, self.sample_rate))
        };
        Identity { trace, request, parent, is_sampled }
    }

    fn number(&self) -> u64 {
        let mut number = self.next.fetch_add(STEP, Ordering::Relaxed);
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

impl Identity {
    /// Writes a W3C trace context, with this request as the parent of what it calls.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.request, u8::from(self.is_sampled))
    }
}

/// Tells whether a trace is kept: by its identity, so that all servers decide alike.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
fn is_kept(low: u64, sample_rate: f64) -> bool {
    ((low >> 11) as f64) < sample_rate * (1_u64 << 53) as f64
}

/// Reads a W3C trace context: version, trace, parent, flags.
fn parse_traceparent(value: &str) -> Option<(&str, u64, bool)> {
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
    Some((trace, u64::from_str_radix(parent, 16).ok()?, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identities_differ() {
        let identities = Identities::new(0.0);
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
            Identities::new(1.0).identify(&headers)
        };
        let identity = adopt(&format!("00-{trace}-00f067aa0ba902b7-01"));
        assert_eq!((&*identity.trace, identity.is_sampled), (trace, true));
        assert_eq!(identity.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(identity.traceparent(), format!("00-{trace}-{}-01", identity.request));
        // A client that does not want its trace kept is heeded, whatever the rate.
        assert!(!adopt(&format!("00-{trace}-00f067aa0ba902b7-00")).is_sampled);
        for wrong in ["", "00", "00-x-y-z", &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))] {
            assert_ne!(&*adopt(wrong).trace, trace);
            assert_eq!(adopt(wrong).trace.len(), 32);
        }
    }

    #[test]
    fn the_rate_is_the_part_of_traces_that_are_kept() {
        let kept = |rate| {
            let identities = Identities::new(rate);
            (0..10_000).filter(|_| identities.identify(&HeaderMap::new()).is_sampled).count()
        };
        assert_eq!((kept(0.0), kept(1.0)), (0, 10_000));
        assert!((2_200..2_800).contains(&kept(0.25)));
        assert!(is_kept(u64::MAX, 1.0) && !is_kept(u64::MAX, 0.999) && !is_kept(0, 0.0));
    }
}
