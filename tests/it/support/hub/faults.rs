//! What goes wrong, with which requests, and how often.

use std::time::Duration;

use serde_json::json;

use super::super::fake_server::{Answer, Pace, Part};

/// Something that goes wrong with a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// This is answered, and nothing else.
    Answer(Answer),
    /// An answer with this status.
    Status(u16),
    /// 429, and when to come again.
    TooManyRequests { retry_after: u64 },
    /// The connection is closed without an answer.
    Silence,
    /// Nothing is answered for so long, then as usual.
    Late(Duration),
    /// The connection is closed after so many bytes of the body.
    CutAfter(usize),
    /// After so many bytes of the body nothing is sent for so long, then the rest.
    Stall { after: u64, during: Duration },
    /// The body is not sent faster than this.
    Slow { bytes_per_second: u64 },
    /// The byte at this place of the file is wrong.
    WrongByte { offset: u64 },
    /// The file is said to have, and has, so many bytes: cut short, or filled up with zeros.
    Length(u64),
    /// The answer has this value in this header.
    Header(&'static str, String),
    /// The answer lacks this header.
    WithoutHeader(&'static str),
    /// Ranges are not known.
    IgnoreRange,
    /// The storage does not have the file.
    Missing,
    /// The storage refuses the URL from now on, as it does when its time is over.
    Expired,
    /// A document of JSON with so many bytes.
    Huge(u64),
}

/// The faults to come.
#[derive(Default)]
pub(super) struct Faults(Vec<Planned>);

struct Planned {
    method: String,
    fragment: String,
    times: usize,
    fault: Fault,
}

/// What goes wrong with one request.
pub(super) struct Chosen(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, method: &str, fragment: &str, times: usize, fault: Fault) {
        assert!(times > 0, "a fault that never happens");
        let (method, fragment) = (method.to_owned(), fragment.to_owned());
        self.0.push(Planned { method, fragment, times, fault });
    }

    pub(super) fn left(&self) -> usize {
        self.0.iter().filter(|planned| planned.times != super::ALWAYS).count()
    }

    /// Takes what goes wrong with a request out of what is to come; of two that answer instead, the first.
    pub(super) fn choose(&mut self, method: &str, path: &str) -> Chosen {
        let mut chosen = Chosen(Vec::new());
        for planned in &mut self.0 {
            let is_meant = planned.method == method && path.contains(&planned.fragment);
            let is_masked = planned.fault.is_instead() && chosen.0.iter().any(Fault::is_instead);
            if is_meant && !is_masked {
                chosen.0.push(planned.fault.clone());
                if planned.times != super::ALWAYS {
                    planned.times -= 1;
                }
            }
        }
        self.0.retain(|planned| planned.times > 0);
        chosen
    }
}

impl Fault {
    fn is_instead(&self) -> bool {
        matches!(
            self,
            Self::Answer(_)
                | Self::Status(_)
                | Self::TooManyRequests { .. }
                | Self::Silence
                | Self::Missing
                | Self::Huge(_)
        )
    }
}

impl Chosen {
    /// The answer that takes the place of the right one, if any; `Some(None)` is none at all.
    #[expect(clippy::option_option, reason = "no fault and no answer are two things")]
    pub(super) fn instead(&self) -> Option<Option<Answer>> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Answer(answer) => Some(Some(answer.clone())),
            Fault::Status(status) => Some(Some(failure(*status))),
            Fault::TooManyRequests { retry_after } => {
                Some(Some(failure(429).header("Retry-After", retry_after)))
            }
            Fault::Silence => Some(None),
            Fault::Missing => Some(Some(super::storage::missing())),
            Fault::Huge(length) => {
                let rest = Part::Repeat { byte: b' ', length: length.saturating_sub(2) };
                let json = Answer::status(200).header("Content-Type", "application/json").body("[");
                Some(Some(Answer { parts: vec![rest, Part::Bytes(b"]".to_vec())], ..json }))
            }
            _ => None,
        })
    }

    /// Changes the right answer.
    pub(super) fn apply(&self, mut answer: Answer) -> Answer {
        for fault in &self.0 {
            match fault {
                Fault::CutAfter(bytes) => answer.cut_after = Some(*bytes),
                Fault::Stall { after, during } => {
                    answer.pace = Pace::Pause { after: *after, during: *during };
                }
                Fault::Slow { bytes_per_second } => answer.pace = Pace::BytesPerSecond(*bytes_per_second),
                Fault::Header(name, value) => {
                    answer.headers.retain(|(had, _)| !had.eq_ignore_ascii_case(name));
                    answer = answer.header(name, value);
                }
                Fault::WithoutHeader(name) => {
                    answer.headers.retain(|(had, _)| !had.eq_ignore_ascii_case(name));
                }
                _ => {}
            }
        }
        answer
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Late(delay) => Some(*delay),
            _ => None,
        })
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Length(length) => Some(*length),
            _ => None,
        })
    }

    pub(super) fn wrong_byte(&self) -> Option<u64> {
        self.0.iter().find_map(|fault| match fault {
            Fault::WrongByte { offset } => Some(*offset),
            _ => None,
        })
    }

    pub(super) fn ignores_ranges(&self) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::IgnoreRange))
    }

    pub(super) fn expires(&self) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::Expired))
    }
}

fn failure(status: u16) -> Answer {
    let body = json!({"error": format!("the hub answers {status}")});
    Answer::status(status).header("Content-Type", "application/json").body(body.to_string())
}
