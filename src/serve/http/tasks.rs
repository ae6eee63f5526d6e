//! What clients do with tasks: submit one, ask for its state or its answer, run it again, give it up.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::oneshot;

use super::body::{Body, Source, read};
use super::exchange::Exchange;
use super::front::Service;
use super::{api, reply};
use crate::serve::error::chain;
use crate::serve::payload::Payload;
use crate::serve::tasks::bodies::Kept;
use crate::serve::tasks::store::{Answer, Refusal, Status, Submission, new_id};
use crate::serve::worker::call::TaskId;
use crate::serve::worker::message::Level;

/// The answer of a task whose real answer is lost.
const LOST: &str = r#"{"error":"An unexpected error has occurred, please check the server log."}"#;

/// What is done with tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begins one.
    Submit,
    /// Tells its state.
    Status,
    /// Gives its answer.
    Get,
    /// Begins one with the request of another.
    Retry,
    /// Gives it up.
    Cancel,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Submit, Self::Status, Self::Get, Self::Retry, Self::Cancel];

    /// Returns the last part of the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Status => "status",
            Self::Get => "get",
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    /// Returns the methods of the path. Upstream's server and its documentation differ in two: both are taken.
    fn methods(self) -> (&'static [Method], &'static str) {
        match self {
            Self::Submit => (&[Method::POST], "POST"),
            Self::Status | Self::Get => (&[Method::GET, Method::HEAD], "GET, HEAD"),
            Self::Retry => (&[Method::POST, Method::PUT], "POST, PUT"),
            Self::Cancel => (&[Method::PUT, Method::POST], "PUT, POST"),
        }
    }
}

/// Answers a request about the tasks of the API `endpoint`.
pub async fn answer(
    service: &Arc<Service>,
    endpoint: usize,
    action: Action,
    request: Request<impl Into<Source>>,
    exchange: &mut Exchange,
) -> Response<Body> {
    let (methods, allowed) = action.methods();
    if !methods.contains(request.method()) {
        return reply::wrong_method(allowed);
    }
    let mut response = match (action, task_id(request.uri().query())) {
        (Action::Submit, _) => submit(service, endpoint, request, exchange).await,
        (_, None) => reply::error(StatusCode::BAD_REQUEST, "task_id is required"),
        (Action::Status, Some(id)) => match service.tasks.store.describe(&id) {
            Ok(state) => reply::json(StatusCode::OK, state.to_string()),
            Err(refusal) => refuse(refusal, &id),
        },
        (Action::Get, Some(id)) => get(service, &id).await,
        (Action::Retry, Some(id)) => match service.tasks.store.submission(&id) {
            Ok(submission) => begin(service, submission, exchange),
            Err(refusal) => refuse(refusal, &id),
        },
        (Action::Cancel, Some(id)) => cancel(service, &id),
    };
    api::sign(service, exchange, &mut response);
    response
}

async fn submit(
    service: &Arc<Service>,
    endpoint: usize,
    request: Request<impl Into<Source>>,
    exchange: &Exchange,
) -> Response<Body> {
    if let Some(response) = api::refuse(service) {
        return response;
    }
    let (head, body) = request.into_parts();
    // The limit is for sending the request, not for the task.
    let reading =
        tokio::time::timeout(service.config.timeout.limit, read(body, service.config.max_body_size));
    let body = match reading.await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return api::unread(&error),
        Err(_) => return api::timed_out(service),
    };
    match service.tasks.bodies.keep(body.into_parts()).await {
        Ok(body) => begin(service, Arc::new(Submission { endpoint, head, body }), exchange),
        Err(error) => lost(service, &error),
    }
}

/// Begins a task, and tells its identity.
fn begin(service: &Arc<Service>, submission: Arc<Submission>, exchange: &Exchange) -> Response<Body> {
    let id = match new_id() {
        Ok(id) => id,
        Err(error) => return lost(service, &error),
    };
    let Some(canceled) = service.tasks.store.add(&id, Arc::clone(&submission), Timestamp::now()) else {
        return reply::error(StatusCode::TOO_MANY_REQUESTS, "Too many tasks");
    };
    let task = Running {
        service: Arc::clone(service),
        request_id: Arc::clone(&exchange.identity.request),
        submission,
        id: id.clone(),
    };
    task.log(0, "is submitted");
    tokio::spawn(task.run(canceled));
    reply::json(StatusCode::OK, json!({ "task_id": id, "status": Status::InProgress.word() }).to_string())
}

async fn get(service: &Service, id: &str) -> Response<Body> {
    let answer = match service.tasks.store.answer(id) {
        Ok(answer) => answer,
        Err(refusal) => return refuse(refusal, id),
    };
    let body = match answer.body.read().await {
        Ok(body) => body,
        Err(error) => return lost(service, &error),
    };
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.clone();
    response
}

fn cancel(service: &Service, id: &str) -> Response<Body> {
    match service.tasks.store.cancel(id, Timestamp::now()) {
        Ok(state) => reply::json(StatusCode::OK, state.to_string()),
        Err(refusal) => refuse(refusal, id),
    }
}

fn refuse(refusal: Refusal, id: &str) -> Response<Body> {
    match refusal {
        Refusal::Unknown => reply::error(StatusCode::NOT_FOUND, "task_id not found"),
        Refusal::InProgress => {
            reply::error(StatusCode::BAD_REQUEST, &format!("task {id} is not completed yet"))
        }
        Refusal::Completed => {
            reply::error(StatusCode::BAD_REQUEST, &format!("task {id} is completed already"))
        }
        Refusal::Canceled => reply::error(StatusCode::BAD_REQUEST, &format!("task {id} was canceled")),
    }
}

fn lost(service: &Service, error: &(dyn std::error::Error + 'static)) -> Response<Body> {
    service.log.line(Level::Error, service.component(0), chain(error));
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, reply::HIDDEN)
}

/// Reads the parameter; of several the last counts.
fn task_id(query: Option<&str>) -> Option<String> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.filter(|(name, _)| name == "task_id").last().map(|(_, id)| id.into_owned())
}

/// A task on its way.
struct Running {
    service: Arc<Service>,
    request_id: Arc<str>,
    submission: Arc<Submission>,
    id: String,
}

impl Running {
    async fn run(self, canceled: oneshot::Receiver<()>) {
        let canceled = async {
            // The other end is dropped, without a word, when the task is over.
            if canceled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let (worker, answer) = tokio::select! {
            ended = self.perform() => ended,
            () = canceled => {
                self.log(0, "is canceled");
                return;
            }
        };
        let status = self.service.tasks.store.complete(&self.id, answer, Timestamp::now());
        if let Some(status) = status {
            self.log(worker, &format!("is {}", status.word()));
        }
    }

    /// Runs the task; dropping this cancels its call.
    async fn perform(&self) -> (u32, Answer) {
        let tasks = &self.service.tasks;
        let _place = tasks.place().await;
        tasks.store.begin(&self.id, Timestamp::now());
        let body = match self.submission.body.read().await {
            Ok(body) => body,
            Err(error) => return (0, self.give_up(&error)),
        };
        let Submission { endpoint, head, .. } = &*self.submission;
        let mut head = head.clone();
        head.extensions.insert(TaskId(self.id.clone()));
        let call = api::call(&self.service, *endpoint, head, Payload::from(body), &self.request_id, None);
        let (worker, response) = api::perform(&self.service, call).await;
        (worker, self.keep(response).await)
    }

    async fn keep(&self, response: Response<Body>) -> Answer {
        let (head, body) = response.into_parts();
        let parts = match gather(body).await {
            Ok(parts) => parts,
            Err(error) => return self.give_up(&error),
        };
        match self.service.tasks.bodies.keep(parts).await {
            Ok(body) => Answer { status: head.status, headers: head.headers, body },
            Err(error) => self.give_up(&error),
        }
    }

    /// The answer of a task that has none.
    fn give_up(&self, error: &(dyn std::error::Error + 'static)) -> Answer {
        self.service.log.line(Level::Error, self.service.component(0), chain(error));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Answer { status: StatusCode::INTERNAL_SERVER_ERROR, headers, body: Kept::constant(LOST) }
    }

    fn log(&self, worker: u32, what: &str) {
        let name = &self.service.apis[self.submission.endpoint];
        let text = format!("Task({}) {name} {what}", self.id);
        self.service.log.line(Level::Info, self.service.component(worker), text);
    }
}

async fn gather(mut body: Body) -> Result<Vec<Bytes>, crate::serve::worker::stream::StreamError> {
    let mut parts = Vec::new();
    while let Some(frame) = body.frame().await {
        parts.extend(frame?.into_data());
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_task_id_counts() {
        assert_eq!(task_id(None), None);
        assert_eq!(task_id(Some("id=1")), None);
        assert_eq!(task_id(Some("task_id=")).as_deref(), Some(""));
        assert_eq!(task_id(Some("task_id=a&x=1&task_id=b%20c")).as_deref(), Some("b c"));
    }
}
