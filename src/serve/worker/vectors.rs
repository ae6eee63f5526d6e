//! The vectors in `testdata/wire`, which the SDK's tests read too.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

use super::frame::{Decoder, Frame};
use super::message::{Answer, Encoding, Failure, FromWorker, Level, Probed, ResponseHead, Results, ToWorker};
use super::socket_message::{FromSocket, Kind};
use crate::serve::manifest::{Style, Unit};
use crate::serve::payload::Payload;

/// Types that the front sends; all others it receives.
const SENT: [&str; 14] = [
    "batch",
    "call",
    "cancel",
    "connect",
    "disconnect",
    "done",
    "drain",
    "item",
    "metrics",
    "outcome",
    "place",
    "probe",
    "receive",
    "sent",
];

fn vectors(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wire").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let vectors: BTreeMap<String, Vec<u8>> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), unhex(&path)))
        .collect();
    assert!(vectors.len() > 5, "the vectors are missing");
    vectors
}

fn unhex(path: &Path) -> Vec<u8> {
    let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn decode(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::default();
    decoder.room().unwrap().extend_from_slice(bytes);
    let frame = decoder.decode().unwrap().expect("a vector is a whole frame");
    assert!(decoder.room().unwrap().is_empty(), "a vector is one frame");
    frame
}

fn received(name: &str) -> FromWorker {
    FromWorker::decode(decode(&vectors("")[name])).unwrap()
}

#[test]
fn what_the_front_sends_is_what_the_vectors_have() {
    let mut seen = Vec::new();
    for (name, bytes) in vectors("") {
        let kind = name.split('-').next().unwrap();
        if !SENT.contains(&kind) {
            continue;
        }
        seen.push(kind.to_owned());
        let Frame { header, body, .. } = decode(&bytes);
        let message: ToWorker<'_> = serde_json::from_slice(&header).unwrap();
        let sent = message.encode(Payload::from(body.clone())).unwrap();
        let mut slices = Vec::new();
        sent.gather(&mut slices, 8);
        let frame = decode(&slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>());
        assert_eq!(frame.body, body, "{name}");
        if !name.ends_with("unknown-member") {
            let (ours, theirs): (Value, Value) =
                (serde_json::from_slice(&frame.header).unwrap(), serde_json::from_slice(&header).unwrap());
            assert_eq!(ours, theirs, "{name}");
        }
    }
    seen.dedup();
    assert_eq!(seen, SENT);
}

#[test]
fn every_message_of_a_worker_is_read() {
    for (name, bytes) in vectors("") {
        let kind = name.split('-').next().unwrap();
        if !SENT.contains(&kind) {
            let message =
                FromWorker::decode(decode(&bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let variant = match &message {
                FromWorker::Socket(_, message) => format!("{message:?}").to_lowercase(),
                message => format!("{message:?}").to_lowercase(),
            };
            assert!(variant.starts_with(kind), "{name} was read as {variant}");
        }
    }
}

#[test]
fn messages_of_a_worker_are_read_as_they_are_meant() {
    let FromWorker::Reply(7, Answer { head: Ok(ResponseHead { status, headers }), body, encoding: None, .. }) =
        received("reply")
    else {
        panic!("not a reply to 7");
    };
    assert_eq!(
        (status.as_u16(), &headers["content-type"], &body[..]),
        (200, &hyper::header::HeaderValue::from_static("application/json"), &b"[\"virginica\"]"[..])
    );
    assert!(
        matches!(received("stream"), FromWorker::Stream(11, Ok(ResponseHead { status, .. })) if status == 200)
    );
    assert!(matches!(received("chunk"), FromWorker::Chunk(11, chunk) if chunk == "data: ü\n\n"));
    assert!(matches!(received("end"), FromWorker::End(_, None)));
    assert!(
        matches!(received("end-error"), FromWorker::End(11, Some(error)) if error == "ValueError: no more")
    );
    let refused = Probed {
        ok: false,
        message: Some("Service is dead because .__is_alive__() returns False.".to_owned()),
    };
    assert!(matches!(received("probed-refused"), FromWorker::Probed(9, probed) if probed == refused));
    assert!(
        matches!(received("measured"), FromWorker::Measured(10, text) if text.ends_with(b"predictions_total 3.0\n"))
    );
    let FromWorker::Log(Level::Error, text) = received("log") else { panic!("not an error") };
    assert_eq!(text, "Exception on /predict [POST]\nTraceback …");
    let FromWorker::Failed(Failure { stage, message, detail }) = received("failed") else {
        panic!("not a failure")
    };
    assert_eq!(
        (stage.as_str(), message.as_str()),
        ("models", "NotFound: model `iris_clf:latest` is not in the store")
    );
    assert!(detail.starts_with("Traceback (most recent call last):"));
    let FromWorker::Results(13, Results::Each(answers)) = received("results") else { panic!("not results") };
    assert_eq!(answers.iter().map(|answer| answer.body.len()).collect::<Vec<_>>(), [5, 4]);
    assert!(
        answers[0].encoding.is_none() && answers[1].encoding == Some(Encoding::Pickle { lengths: vec![4] })
    );
    let FromWorker::Results(14, Results::Merged(head, elements)) = received("results-array") else {
        panic!("not one array")
    };
    assert_eq!((head.shape, elements.len()), (vec![3], 24));
    let FromWorker::Invoke(invoke, arguments) = received("invoke") else { panic!("not an invocation") };
    assert_eq!((invoke.unit.as_str(), invoke.rows, arguments.length()), ("runner:iris_clf", 1, 16));
    assert!(matches!(received("withdraw"), FromWorker::Withdraw(3)));
    assert!(matches!(received("command"), FromWorker::Command(4711)));
    let socket = |name: &str| match received(name) {
        FromWorker::Socket(id, message) => (id, message),
        other => panic!("{other:?}"),
    };
    let (15, FromSocket::Accept(Ok(taken))) = socket("accept") else { panic!("not taken") };
    assert_eq!((taken.subprotocol.as_deref(), taken.headers.len()), (Some("v1"), 1));
    let (16, FromSocket::Accept(Ok(taken))) = socket("accept-plain") else { panic!("not taken") };
    assert_eq!((taken.subprotocol, taken.headers.len()), (None, 0));
    assert!(
        matches!(socket("deny"), (15, FromSocket::Deny(Ok(head), body)) if head.status == 403 && body == "no such room")
    );
    assert!(matches!(socket("send"), (15, FromSocket::Send(Kind::Text, text)) if text == "Grüße"));
    assert!(
        matches!(socket("send-bytes"), (15, FromSocket::Send(Kind::Bytes, data)) if data == b"\0\xff"[..])
    );
    assert!(matches!(socket("received"), (15, FromSocket::Received(524_289))));
    assert!(
        matches!(socket("close"), (15, FromSocket::Close(4000, reason)) if reason == "the room is closed")
    );
    let FromWorker::Describe(service) = received("describe") else { panic!("not a description") };
    assert_eq!((service.name.as_str(), service.slots), ("IrisClassifier", 1));
    assert_eq!(service.endpoints[0].route, "/predict");
    assert_eq!((service.endpoints[0].batch.is_some(), service.endpoints[1].batch.is_some()), (false, true));
    assert_eq!(
        service.units.iter().map(Unit::id).collect::<Vec<_>>(),
        ["runner:iris_clf", "service:Tokenizer"]
    );
    assert!(service.units[0].abilities.threads && !service.units[0].abilities.gpu);
    assert_eq!((service.endpoints[0].route.as_str(), service.style), ("/predict", Style::Class));
    let FromWorker::Describe(service) = received("describe-legacy") else { panic!("not a description") };
    assert_eq!((service.endpoints[0].route.as_str(), service.style), ("/v1/predict", Style::Legacy));
    assert_eq!(service.units.iter().map(Unit::id).collect::<Vec<_>>(), ["runner:iris_clf"]);
}

/// A reader refuses every vector of `testdata/wire/invalid/`.
#[test]
fn invalid_vectors_are_refused() {
    for (name, bytes) in vectors("invalid") {
        let mut decoder = Decoder::default();
        decoder.room().unwrap().extend_from_slice(&bytes);
        match decoder.decode() {
            Err(_) => {}
            Ok(None) => panic!("{name} was not refused"),
            Ok(Some(Frame { header, body, shared })) => {
                let message =
                    FromWorker::decode(Frame { header, body: Bytes::copy_from_slice(&body), shared });
                assert!(message.is_err(), "{name} was read as {message:?}");
            }
        }
    }
}
