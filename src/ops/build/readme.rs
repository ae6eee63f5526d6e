//! The README of a bento whose project has none.

use std::fmt::Write as _;

use crate::discover::Service;

/// Describes a service: its name, what it does, and how it is called.
pub(super) fn generated(service: &Service, version: Option<&str>) -> String {
    let mut text =
        format!("# {}:{}\n\nA machine learning service.\n", service.name, version.unwrap_or("dev"));
    if let Some(doc) = &service.doc {
        let _ = write!(text, "\n{doc}\n");
    }
    if service.apis.is_empty() {
        return text;
    }
    text.push_str("\n| API | route | |\n| --- | --- | --- |\n");
    for api in &service.apis {
        let summary = api.doc.as_deref().and_then(|doc| doc.lines().next()).unwrap_or_default();
        let _ = writeln!(text, "| {} | `POST {}{}` | {summary} |", api.name, service.path_prefix, api.route);
    }
    text
}
