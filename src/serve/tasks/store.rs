//! What is known of every task.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::oneshot;

use super::bodies::Kept;

/// How long the answer of a task is kept.
const RETENTION: SignedDuration = SignedDuration::from_hours(24);

/// How often old answers are looked for.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// Most tasks that are kept: a client that only submits must not fill the memory.
const MOST: usize = 100_000;

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits, or runs.
    InProgress,
    /// It was answered.
    Completed,
    /// It was answered with an error.
    Failed,
    /// It was given up.
    Canceled,
}

/// Why a task cannot be told of, or changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// There is none, or it is too long ago.
    #[error("task_id not found")]
    Unknown,
    /// It still waits or runs.
    #[error("the task is not completed yet")]
    InProgress,
    /// It has an answer already.
    #[error("the task is completed already")]
    Completed,
    /// It was given up.
    #[error("the task was canceled")]
    Canceled,
}

/// The request of a task.
#[derive(Debug)]
pub struct Submission {
    /// The API's place in the manifest.
    pub endpoint: usize,
    /// The request without its body.
    pub head: Parts,
    /// Its body.
    pub body: Kept,
}

/// The answer of a task.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Kept,
}

/// The tasks of one server.
#[derive(Debug, Default)]
pub struct Store {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    tasks: BTreeMap<String, Task>,
    swept: Option<Timestamp>,
}

#[derive(Debug)]
struct Task {
    submission: Arc<Submission>,
    status: Status,
    created: Timestamp,
    executed: Option<Timestamp>,
    completed: Option<Timestamp>,
    answer: Option<Arc<Answer>>,
    cancel: Option<oneshot::Sender<()>>,
}

impl Status {
    /// The word that clients read.
    pub fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl Store {
    /// Adds a task; the receiver hears of its cancellation. `None` when there are too many.
    pub fn add(
        &self,
        id: &str,
        submission: Arc<Submission>,
        now: Timestamp,
    ) -> Option<oneshot::Receiver<()>> {
        let mut table = self.lock();
        table.sweep(now);
        if table.tasks.len() >= MOST {
            return None;
        }
        let (cancel, canceled) = oneshot::channel();
        let task = Task {
            submission,
            status: Status::InProgress,
            created: now,
            executed: None,
            completed: None,
            answer: None,
            cancel: Some(cancel),
        };
        table.tasks.insert(id.to_owned(), task);
        Some(canceled)
    }

    /// Takes note that a task has been given to the workers.
    pub fn begin(&self, id: &str, now: Timestamp) {
        if let Some(task) = self.lock().tasks.get_mut(id) {
            task.executed = Some(now);
        }
    }

    /// Takes note of a task's answer, unless it was given up before; tells what became of it.
    pub fn complete(&self, id: &str, answer: Answer, now: Timestamp) -> Option<Status> {
        let mut table = self.lock();
        table.sweep(now);
        let task = table.tasks.get_mut(id).filter(|task| task.status == Status::InProgress)?;
        let is_error = answer.status.is_client_error() || answer.status.is_server_error();
        task.status = if is_error { Status::Failed } else { Status::Completed };
        task.completed = Some(now);
        task.answer = Some(Arc::new(answer));
        task.cancel = None;
        Some(task.status)
    }

    /// Gives a task up that waits or runs; returns what `describe` would.
    pub fn cancel(&self, id: &str, now: Timestamp) -> Result<Value, Refusal> {
        let mut table = self.lock();
        let task = table.tasks.get_mut(id).ok_or(Refusal::Unknown)?;
        match task.status {
            Status::InProgress => {}
            Status::Canceled => return Err(Refusal::Canceled),
            Status::Completed | Status::Failed => return Err(Refusal::Completed),
        }
        task.status = Status::Canceled;
        task.completed = Some(now);
        if let Some(cancel) = task.cancel.take() {
            // A task that has ended just now needs no word of it.
            let _ = cancel.send(());
        }
        Ok(task.describe(id))
    }

    /// Describes a task, as clients read it.
    pub fn describe(&self, id: &str) -> Result<Value, Refusal> {
        self.lock().tasks.get(id).map(|task| task.describe(id)).ok_or(Refusal::Unknown)
    }

    /// Returns the answer of a task.
    pub fn answer(&self, id: &str) -> Result<Arc<Answer>, Refusal> {
        let table = self.lock();
        let task = table.tasks.get(id).ok_or(Refusal::Unknown)?;
        match (&task.answer, task.status) {
            (Some(answer), _) => Ok(Arc::clone(answer)),
            (None, Status::Canceled) => Err(Refusal::Canceled),
            (None, _) => Err(Refusal::InProgress),
        }
    }

    /// Returns the request of a task that is over.
    pub fn submission(&self, id: &str) -> Result<Arc<Submission>, Refusal> {
        let table = self.lock();
        let task = table.tasks.get(id).ok_or(Refusal::Unknown)?;
        if task.status == Status::InProgress {
            return Err(Refusal::InProgress);
        }
        Ok(Arc::clone(&task.submission))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets answers that are too old, now and then.
    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            let is_kept = |task: &Task| {
                task.completed.is_none_or(|completed| now.duration_since(completed) < RETENTION)
            };
            self.tasks.retain(|_, task| is_kept(task));
        }
    }
}

impl Task {
    fn describe(&self, id: &str) -> Value {
        json!({
            "task_id": id,
            "status": self.status.word(),
            "created_at": written(self.created),
            "executed_at": self.executed.map(written),
        })
    }
}

/// Makes the identity of a task: nobody who was not told it can guess it.
pub fn new_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut id, byte| {
        // Writing to a string does not fail.
        let _ = write!(id, "{byte:02x}");
        id
    }))
}

/// Writes a time as upstream does: in UTC, to the second.
fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::bodies::Bodies;
    use super::*;

    fn kept(text: &'static str) -> Kept {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Bodies::default().keep(vec![Bytes::from_static(text.as_bytes())])).unwrap()
    }

    fn submission() -> Arc<Submission> {
        let (head, ()) = hyper::Request::new(()).into_parts();
        Arc::new(Submission { endpoint: 3, head, body: kept("in") })
    }

    fn answer(status: u16) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: kept("out") }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_task_goes_through_its_states() {
        let store = Store::default();
        store.add("a", submission(), at(0)).unwrap();
        assert_eq!(
            store.describe("a").unwrap().to_string(),
            r#"{"task_id":"a","status":"in_progress","created_at":"2027-01-15T08:00:00","executed_at":null}"#
        );
        assert_eq!(store.answer("a").unwrap_err(), Refusal::InProgress);
        assert_eq!(store.submission("a").unwrap_err(), Refusal::InProgress);
        store.begin("a", at(1));
        assert_eq!(store.complete("a", answer(200), at(2)), Some(Status::Completed));
        assert_eq!(store.describe("a").unwrap()["executed_at"], "2027-01-15T08:00:01");
        assert_eq!(store.answer("a").unwrap().status, 200);
        assert_eq!(store.submission("a").unwrap().endpoint, 3);
        assert_eq!(store.cancel("a", at(3)).unwrap_err(), Refusal::Completed);
        assert_eq!(store.describe("b").unwrap_err(), Refusal::Unknown);
    }

    #[test]
    fn an_error_is_a_failure() {
        let store = Store::default();
        store.add("a", submission(), at(0)).unwrap();
        assert_eq!(store.complete("a", answer(400), at(1)), Some(Status::Failed));
        assert_eq!(store.answer("a").unwrap().status, 400);
    }

    #[test]
    fn a_canceled_task_stays_canceled() {
        let store = Store::default();
        let mut canceled = store.add("a", submission(), at(0)).unwrap();
        assert_eq!(store.cancel("a", at(1)).unwrap()["status"], "canceled");
        assert_eq!(canceled.try_recv(), Ok(()));
        assert_eq!(store.complete("a", answer(200), at(2)), None);
        assert_eq!(store.answer("a").unwrap_err(), Refusal::Canceled);
        assert_eq!(store.cancel("a", at(3)).unwrap_err(), Refusal::Canceled);
        assert!(store.submission("a").is_ok());
    }

    #[test]
    fn answers_are_forgotten_after_a_day_and_waiting_tasks_are_not() {
        let store = Store::default();
        store.add("old", submission(), at(0)).unwrap();
        store.complete("old", answer(200), at(10)).unwrap();
        let waiting = store.add("waiting", submission(), at(0)).unwrap();
        let day = 24 * 60 * 60;
        store.add("new", submission(), at(day + 9)).unwrap();
        assert!(store.answer("old").is_ok());
        store.add("newer", submission(), at(day + 70)).unwrap();
        assert_eq!(store.answer("old").unwrap_err(), Refusal::Unknown);
        assert_eq!(store.describe("waiting").unwrap()["status"], "in_progress");
        drop(waiting);
    }

    #[test]
    fn identities_differ() {
        let (one, two) = (new_id().unwrap(), new_id().unwrap());
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, two);
    }
}
