//! The hub's own host: the API, and the way to a repository's files.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::super::fake_server::{Answer, Received};
use super::faults::Chosen;
use super::repository::Stored;
use super::storage::escape;
use super::{SmallFiles, State, content, listing};

/// What stands after a repository's name in the paths of the API.
const ACTIONS: &[&str] = &["refs", "revision", "tree", "xet-read-token"];

/// The parts of a path after its leading words, without escapes.
struct Wanted {
    id: String,
    action: String,
    /// A revision with slashes is one part if they are escaped.
    rest: Vec<String>,
}

/// A path without escapes.
pub(super) fn unescape(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

impl Wanted {
    /// Of `organisation/name/action/…` or `name/action/…`.
    fn parse(segments: &[&str], actions: &[&str]) -> Option<Self> {
        let segments: Vec<String> = segments.iter().map(|segment| unescape(segment)).collect();
        let at = (1..=2).find(|&at| segments.get(at).is_some_and(|word| actions.contains(&word.as_str())));
        let at = match at {
            Some(at) => at,
            None if actions == ACTIONS && (1..=2).contains(&segments.len()) => segments.len(),
            None => return None,
        };
        Some(Self {
            id: segments[..at].join("/"),
            action: segments.get(at).cloned().unwrap_or_default(),
            rest: segments.get(at + 1..).unwrap_or_default().to_vec(),
        })
    }

    /// Of `organisation/name/commit/…` or `name/commit/…`.
    fn cached(segments: &[&str]) -> Option<Self> {
        let is_commit = |word: &&str| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let at = (1..=2).find(|&at| segments.get(at).is_some_and(is_commit))?;
        let rest = segments[at..].iter().map(|segment| unescape(segment)).collect();
        Some(Self { id: segments[..at].join("/"), action: String::new(), rest })
    }

    fn revision(&self) -> &str {
        self.rest.first().map_or("main", String::as_str)
    }

    fn file(&self) -> String {
        self.rest.get(1..).unwrap_or_default().join("/")
    }
}

impl State {
    /// What the hub answers.
    pub(super) fn route(&mut self, request: &Received, faults: &Chosen) -> Answer {
        if let Some(token) = token(request)
            && !self.tokens.contains(token)
        {
            return refusal(401, "", "Invalid credentials in Authorization header");
        }
        let path = request.path.clone();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["api", "whoami-v2"] => who(request),
            ["api", "models", rest @ ..] => match Wanted::parse(rest, ACTIONS) {
                Some(wanted) => self.ask(request, &wanted),
                None => refusal(404, "", "Not found"),
            },
            ["api", "resolve-cache", "models", rest @ ..] => match Wanted::cached(rest) {
                Some(wanted) => self.file(request, &wanted, faults, SmallFiles::Direct),
                None => refusal(404, "", "Not found"),
            },
            rest => {
                let answer = match Wanted::parse(rest, &["resolve"]) {
                    Some(wanted) => self.file(request, &wanted, faults, self.small_files),
                    None => refusal(404, "", "Not found"),
                };
                let deception = self.deceive(request, faults).filter(|_| answer.status == 404);
                deception.unwrap_or(answer)
            }
        }
    }

    /// A file under a name that no file can have.
    fn deceive(&self, request: &Received, faults: &Chosen) -> Option<Answer> {
        let path = unescape(&request.path);
        let (commit, file) = self.repositories.values().find_map(|repository| repository.deception(&path))?;
        Some(file.answer(request, faults).header("X-Repo-Commit", commit))
    }

    /// A repository that the sender may see, or what to answer in its place.
    fn find(&self, request: &Received, id: &str) -> Result<&Stored, Answer> {
        // Names are one whatever their case, and lead to the one that was given.
        let is_other_case = |name: &&String| *name != id && name.eq_ignore_ascii_case(id);
        let given =
            self.repositories.keys().find(is_other_case).filter(|_| !self.repositories.contains_key(id));
        if let Some(new) = self.renamed.get(id).or(given) {
            let path = request.path.replacen(id, new, 1);
            let query = query(request, &[]);
            let to = if query.is_empty() { path } else { format!("{path}?{query}") };
            let body = format!("Temporary Redirect. Redirecting to {to}");
            return Err(Answer::status(307).header("Location", to).body(body));
        }
        let found = self.repositories.get(id).filter(|stored| !stored.is_private || stored.admits(request));
        found.ok_or_else(|| match token(request) {
            // Whether it is there is nobody's business.
            None => refusal(401, "RepoNotFound", "Invalid username or password."),
            Some(_) => refusal(404, "RepoNotFound", "Repository not found"),
        })
    }

    /// The API of one repository.
    fn ask(&self, request: &Received, wanted: &Wanted) -> Answer {
        let repository = match self.find(request, &wanted.id) {
            Ok(repository) => repository,
            Err(answer) => return answer,
        };
        if wanted.action == "refs" {
            return json_answer(&refs(repository));
        }
        let Some((commit, files)) = repository.resolve(wanted.revision()) else {
            return refusal(404, "RevisionNotFound", &format!("Invalid rev id: {}", wanted.revision()));
        };
        let entries = listing::entries(repository, &files, self.offers_xet);
        match wanted.action.as_str() {
            "tree" => self.page(request, wanted, entries),
            "xet-read-token" => refusal(404, "", "Not found"),
            _ => {
                let has_blobs =
                    request.parameter("blobs").is_some_and(|value| matches!(value, "true" | "True" | "1"));
                json_answer(&json!({
                    "_id": &commit[..24],
                    "id": wanted.id,
                    "modelId": wanted.id,
                    "sha": commit,
                    "private": repository.is_private,
                    "gated": if repository.is_gated { json!("manual") } else { json!(false) },
                    "disabled": false,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "lastModified": "2026-01-01T00:00:00.000Z",
                    "createdAt": "2026-01-01T00:00:00.000Z",
                    "siblings": listing::siblings(&entries, has_blobs),
                }))
            }
        }
    }

    /// A page of a listing, with a link to the next one.
    fn page(&self, request: &Received, wanted: &Wanted, entries: Vec<Value>) -> Answer {
        let below = wanted.file();
        let is_recursive =
            request.parameter("recursive").is_some_and(|value| matches!(value, "true" | "True" | "1"));
        let is_listed = |entry: &Value| {
            let Some(path) = entry["path"].as_str() else { return true };
            let inside = if below.is_empty() { Some(path) } else { path.strip_prefix(&format!("{below}/")) };
            inside.is_some_and(|inside| is_recursive || !inside.contains('/'))
        };
        let listed: Vec<Value> = entries.into_iter().filter(is_listed).collect();
        if listed.is_empty() && !below.is_empty() {
            return refusal(
                404,
                "EntryNotFound",
                &format!("{below} does not exist on \"{}\"", wanted.revision()),
            );
        }
        let start =
            request.parameter("cursor").and_then(|cursor| cursor.strip_prefix("after-")?.parse().ok());
        let start: usize = start.unwrap_or_default();
        let end = (start + self.page).min(listed.len());
        let answer = json_answer(&Value::from(listed.get(start..end).unwrap_or_default()));
        if end == listed.len() {
            return answer;
        }
        let query = query(request, &[("cursor", format!("after-{end}"))]);
        answer.header("Link", format!("<{}{}?{query}>; rel=\"next\"", self.endpoint, request.path))
    }

    /// A file, or the way to it.
    fn file(&mut self, request: &Received, wanted: &Wanted, faults: &Chosen, small: SmallFiles) -> Answer {
        let repository = match self.find(request, &wanted.id) {
            Ok(repository) => repository,
            Err(answer) => return answer,
        };
        if repository.is_gated && !repository.admits(request) {
            let message = format!("Access to model {} is restricted", wanted.id);
            return match token(request) {
                None => {
                    let how = "You must have access to it and be authenticated to access it. Please log in.";
                    refusal(401, "GatedRepo", &format!("{message}. {how}"))
                }
                Some(_) => {
                    refusal(403, "GatedRepo", &format!("{message} and you are not in the authorized list."))
                }
            };
        }
        let Some((commit, files)) = repository.resolve(wanted.revision()) else {
            return refusal(404, "RevisionNotFound", &format!("Invalid rev id: {}", wanted.revision()));
        };
        let name = wanted.file();
        let Some(file) = files.get(&name) else {
            return refusal(404, "EntryNotFound", "Entry not found").header("X-Repo-Commit", commit);
        };
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return refusal(405, "", "Method not allowed");
        }
        let Some(large) = &file.large else {
            if small == SmallFiles::Direct {
                let is_compressed = self.compresses && content::takes_gzip(request);
                let answer =
                    if is_compressed { file.compressed_answer() } else { file.answer(request, faults) };
                return answer.header("X-Repo-Commit", commit);
            }
            let to = format!("/api/resolve-cache/models/{}/{commit}/{}", wanted.id, escape(&name));
            return Answer::status(307)
                .header("Location", to)
                .header("X-Repo-Commit", commit)
                .header("X-Linked-Etag", file.etag())
                .header("X-Linked-Size", faults.length().unwrap_or(file.size));
        };
        let mut answer = Answer::status(302)
            .header("X-Repo-Commit", &commit)
            .header("ETag", file.etag())
            .header("X-Linked-Etag", file.etag())
            .header("X-Linked-Size", faults.length().unwrap_or(file.size))
            .header("Accept-Ranges", "bytes");
        if self.offers_xet {
            let refresh = format!("{}/api/models/{}/xet-read-token/{commit}", self.endpoint, wanted.id);
            answer = answer
                .header("X-Xet-Hash", &large.sha256)
                .header("Link", format!("<{refresh}>; rel=\"xet-auth\""));
        }
        let location = self.sign(&name, file);
        answer.header("Location", &location).body(format!("Found. Redirecting to {location}"))
    }
}

impl Stored {
    fn admits(&self, request: &Received) -> bool {
        token(request).is_some_and(|token| self.admitted.contains(token))
    }
}

/// The query of a request, with some parameters set anew.
fn query(request: &Received, set: &[(&str, String)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, values) in &request.query {
        if !set.iter().any(|(new, _)| new == name) {
            query.extend_pairs(values.iter().map(|value| (name, value)));
        }
    }
    query.extend_pairs(set).finish()
}

fn token(request: &Received) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

fn who(request: &Received) -> Answer {
    if token(request).is_none() {
        return refusal(401, "", "Invalid username or password.");
    }
    json_answer(&json!({
        "type": "user",
        "name": "tester",
        "fullname": "Tester",
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": {"displayName": "tests", "role": "read"}},
    }))
}

fn refs(repository: &Stored) -> Value {
    let refs = |kind: &str, names: &std::collections::BTreeMap<String, String>| -> Vec<Value> {
        let entry = |(name, commit): (&String, &String)| json!({"name": name, "ref": format!("refs/{kind}/{name}"), "targetCommit": commit});
        names.iter().map(entry).collect()
    };
    let (branches, tags) = (refs("heads", &repository.branches), refs("tags", &repository.tags));
    json!({"branches": branches, "converts": [], "tags": tags})
}

fn json_answer(value: &Value) -> Answer {
    Answer::status(200).header("Content-Type", "application/json; charset=utf-8").body(value.to_string())
}

/// An error as the hub tells it.
fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let answer = Answer::status(status)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("X-Error-Message", message)
        .body(json!({"error": message}).to_string());
    if code.is_empty() { answer } else { answer.header("X-Error-Code", code) }
}
