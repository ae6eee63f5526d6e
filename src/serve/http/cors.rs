//! Requests from pages of other origins, as upstream's middleware treats them (runtime contract 3.5).

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use hyper::{Method, Response, StatusCode};

use super::body::Body;
use super::reply;
use crate::serve::config::Cors;

/// What `*` stands for among methods.
const ALL_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// Request headers that need no permission.
const SAFE_HEADERS: [&str; 4] = ["accept", "accept-language", "content-language", "content-type"];

/// A request as far as origins matter.
#[derive(Debug)]
pub struct Request<'a> {
    cors: &'a Cors,
    origin: Option<HeaderValue>,
    preflight: Option<Preflight>,
}

#[derive(Debug)]
struct Preflight {
    method: HeaderValue,
    headers: Option<HeaderValue>,
}

impl<'a> Request<'a> {
    /// Takes from a request what matters.
    pub fn of<B>(cors: &'a Cors, request: &hyper::Request<B>) -> Self {
        let header = |name: HeaderName| request.headers().get(name).cloned();
        let origin = header(ORIGIN);
        let method = header(ACCESS_CONTROL_REQUEST_METHOD);
        let method = method.filter(|_| request.method() == Method::OPTIONS && origin.is_some());
        let headers = header(ACCESS_CONTROL_REQUEST_HEADERS);
        Self { cors, origin, preflight: method.map(|method| Preflight { method, headers }) }
    }

    /// Answers a browser that asks before it sends the request itself; `None` for all other requests.
    pub fn preflight(&self) -> Option<Response<Body>> {
        let asked = self.preflight.as_ref()?;
        let mut wrong = Vec::new();
        if self.allowed_origin().is_none() {
            wrong.push("origin");
        }
        if !self.allows_method(&asked.method) {
            wrong.push("method");
        }
        if !asked.headers.as_ref().is_none_or(|headers| self.allows_headers(headers)) {
            wrong.push("headers");
        }
        let mut response = if wrong.is_empty() {
            reply::text(StatusCode::OK, "OK")
        } else {
            reply::text(StatusCode::BAD_REQUEST, format!("Disallowed CORS {}", wrong.join(", ")))
        };
        let headers = response.headers_mut();
        self.permit(headers);
        insert(headers, ACCESS_CONTROL_MAX_AGE, &self.cors.max_age.to_string());
        insert(headers, ACCESS_CONTROL_ALLOW_METHODS, &self.methods());
        match (&asked.headers, is_any(&self.cors.allow_headers)) {
            (Some(headers_asked), true) => {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers_asked.clone());
            }
            (None, true) => {}
            (_, false) => {
                let mut allowed: Vec<&str> = SAFE_HEADERS.to_vec();
                allowed.extend(self.cors.allow_headers.iter().map(String::as_str));
                insert(headers, ACCESS_CONTROL_ALLOW_HEADERS, &allowed.join(", "));
            }
        }
        Some(response)
    }

    /// Adds to an answer what lets the page read it.
    pub fn permit(&self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.allowed_origin() else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.cors.allow_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if !self.cors.expose_headers.is_empty() && self.preflight.is_none() {
            insert(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &self.cors.expose_headers.join(", "));
        }
    }

    fn allowed_origin(&self) -> Option<HeaderValue> {
        let origin = self.origin.as_ref()?;
        if is_any(&self.cors.allow_origins) {
            // Credentials are only taken with the origin itself.
            let any = HeaderValue::from_static("*");
            return Some(if self.cors.allow_credentials { origin.clone() } else { any });
        }
        let is_listed = self.cors.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
        let is_matched = || {
            let pattern = self.cors.origin_pattern.as_ref();
            pattern.zip(origin.to_str().ok()).is_some_and(|(pattern, origin)| pattern.matches(origin))
        };
        (is_listed || is_matched()).then(|| origin.clone())
    }

    fn allows_method(&self, method: &HeaderValue) -> bool {
        method.to_str().is_ok_and(|method| self.methods().split(", ").any(|allowed| allowed == method))
    }

    fn allows_headers(&self, asked: &HeaderValue) -> bool {
        let is_allowed = |name: &str| {
            let is_safe = SAFE_HEADERS.iter().any(|safe| safe.eq_ignore_ascii_case(name));
            is_safe || self.cors.allow_headers.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
        };
        is_any(&self.cors.allow_headers)
            || asked.to_str().is_ok_and(|asked| asked.split(',').map(str::trim).all(is_allowed))
    }

    fn methods(&self) -> String {
        if is_any(&self.cors.allow_methods) {
            ALL_METHODS.to_owned()
        } else {
            self.cors.allow_methods.join(", ")
        }
    }
}

fn is_any(values: &[String]) -> bool {
    values.iter().any(|value| value == "*")
}

/// A configured value that is no header value is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::config::cors::OriginPattern;

    fn cors(origins: &str) -> Cors {
        Cors {
            allow_origins: vec![origins.to_owned()],
            allow_methods: vec!["POST".to_owned()],
            allow_headers: vec!["X-A".to_owned()],
            max_age: 600,
            ..Cors::default()
        }
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> hyper::Request<()> {
        let builder = hyper::Request::builder().method(method).uri("/a");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
    }

    #[test]
    fn listed_origins_may_ask_and_read() {
        let cors = cors("https://a.example");
        let asked = request(
            "OPTIONS",
            &[
                ("origin", "https://a.example"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type, x-a"),
            ],
        );
        let response = Request::of(&cors, &asked).preflight().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(response.headers()[ACCESS_CONTROL_MAX_AGE], "600");
        let sent = request("POST", &[("origin", "https://a.example")]);
        let sent = Request::of(&cors, &sent);
        assert!(sent.preflight().is_none());
        let mut headers = HeaderMap::new();
        sent.permit(&mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(headers[VARY], "Origin");
    }

    #[test]
    fn origins_may_be_a_pattern_of_whole_origins() {
        let origin_pattern = Some(OriginPattern::new(r"https://.*\.example|http://b").unwrap());
        let cors = Cors { allow_origins: Vec::new(), origin_pattern, ..cors("") };
        for (origin, expected) in [
            ("https://a.example", true),
            ("http://b", true),
            ("https://a.example.evil", false),
            ("x-https://a.example", false),
            ("http://bb", false),
        ] {
            let sent = request("POST", &[("origin", origin)]);
            let mut headers = HeaderMap::new();
            Request::of(&cors, &sent).permit(&mut headers);
            assert_eq!(headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), expected, "{origin}");
        }
    }

    #[test]
    fn other_origins_methods_and_headers_are_refused() {
        let cors = cors("https://a.example");
        let asked = request(
            "OPTIONS",
            &[
                ("origin", "https://b.example"),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "x-b"),
            ],
        );
        let response = Request::of(&cors, &asked).preflight().unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
