//! Which path is what.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::tasks::Action;
use crate::serve::config::service::Endpoints;
use crate::serve::manifest::{ServiceManifest, Style};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An API, by its place in the manifest.
    Api(usize),
    /// What is done with the tasks of an API.
    Task(usize, Action),
    /// A page of the front.
    Page(Page),
    /// Mounted applications, by their place in the manifest.
    Mounted(usize),
    /// The service's own program.
    Proxied,
}

/// The pages that the front answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/livez`, `/healthz`.
    Live,
    /// `/readyz`.
    Ready,
    /// `/metrics`.
    Metrics,
    /// `/schema.json`.
    Schema,
    /// `/docs.json`.
    Docs,
    /// `/`.
    Index,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// To a place; the number is its label in the metrics.
    Place(Place, usize),
    /// To the same path without its last slash.
    Redirect(&'a str),
    /// Nowhere.
    Nothing,
}

impl Found<'_> {
    /// Whether it is asked how the service is.
    pub fn is_health(&self) -> bool {
        matches!(self, Self::Place(Place::Page(Page::Live | Page::Ready), _))
    }
}

/// The paths of one service.
#[derive(Debug)]
pub struct Routes {
    places: HashMap<String, (Place, usize)>,
    labels: Vec<String>,
    mounts: Vec<Mounted>,
    /// The prefix of the paths that the service's own program answers, and their label.
    proxied: Option<(String, usize)>,
}

/// A path below which applications may answer.
#[derive(Debug)]
struct Mounted {
    endpoint: usize,
    prefix: String,
    label: usize,
}

/// Pages below the service's prefix.
const PAGES: &[(&str, Page)] = &[
    ("/livez", Page::Live),
    ("/healthz", Page::Live),
    ("/readyz", Page::Ready),
    ("/metrics", Page::Metrics),
    ("/docs.json", Page::Docs),
    ("/", Page::Index),
];

/// Upstream never prefixes this one (runtime contract 3.1).
const SCHEMA: &str = "/schema.json";

/// The label of everything that is nowhere.
const UNMATCHED: &str = "unmatched";

impl Routes {
    /// Makes the table of a service; APIs come before pages, and pages before their other paths.
    pub fn new(manifest: &ServiceManifest, endpoints: &Endpoints) -> Self {
        let mut routes =
            Self { places: HashMap::new(), labels: Vec::new(), mounts: Vec::new(), proxied: None };
        let prefix = manifest.path_prefix.trim_end_matches('/');
        for (index, endpoint) in
            manifest.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.is_api())
        {
            routes.add(format!("{prefix}{}", endpoint.route), Place::Api(index));
        }
        for (index, endpoint) in manifest.endpoints.iter().enumerate().filter(|(_, api)| api.is_task) {
            for action in Action::ALL {
                let path = format!("{prefix}{}/{}", endpoint.route.trim_end_matches('/'), action.name());
                routes.add(path, Place::Task(index, action));
            }
        }
        for (path, page) in PAGES {
            routes.add(format!("{prefix}{path}"), Place::Page(*page));
        }
        if manifest.style == Style::Class {
            routes.add(SCHEMA.to_owned(), Place::Page(Page::Schema));
        }
        for (path, page) in [(&endpoints.live, Page::Live), (&endpoints.ready, Page::Ready)] {
            if let Some(path) = path {
                routes.add(path.clone(), Place::Page(page));
            }
        }
        for (endpoint, declared) in manifest.endpoints.iter().enumerate() {
            for path in &declared.mounts {
                routes.labels.push(path.clone());
                let prefix = path.trim_end_matches('/').to_owned();
                routes.mounts.push(Mounted { endpoint, prefix, label: routes.labels.len() - 1 });
            }
        }
        if manifest.command.is_some() {
            routes.labels.push(format!("{prefix}/{{path}}"));
            routes.proxied = Some((format!("{prefix}/"), routes.labels.len() - 1));
        }
        routes.labels.push(UNMATCHED.to_owned());
        routes
    }

    /// Returns the labels of all places in the metrics; the last is for what is nowhere.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns the label of a request that goes to no place.
    pub fn unmatched(&self) -> usize {
        self.labels.len() - 1
    }

    /// Finds what is at a path. Mounted applications come after APIs and probes, and before the pages for people.
    pub fn find<'a>(&self, path: &'a str) -> Found<'a> {
        let found = self.find_own(path);
        if let Found::Place(place, _) = found
            && !matches!(place, Place::Page(Page::Docs | Page::Index))
        {
            return found;
        }
        match self.mounted(path) {
            Some(mount) => Found::Place(Place::Mounted(mount.endpoint), mount.label),
            None => self.find_unmounted(path),
        }
    }

    /// Finds what is at a path that no mounted application claims: the service's own program comes before the pages
    /// for people.
    pub fn find_unmounted<'a>(&self, path: &'a str) -> Found<'a> {
        let found = self.find_own(path);
        if let Found::Place(place, _) = found
            && !matches!(place, Place::Page(Page::Docs | Page::Index))
        {
            return found;
        }
        match &self.proxied {
            Some((prefix, label)) if path.starts_with(prefix.as_str()) => {
                Found::Place(Place::Proxied, *label)
            }
            _ => found,
        }
    }

    /// Finds what is at a path that no mounted application answers.
    pub fn find_own<'a>(&self, path: &'a str) -> Found<'a> {
        if let Some((place, label)) = self.places.get(path).or_else(|| self.decoded(path)) {
            return Found::Place(*place, *label);
        }
        match path.strip_suffix('/') {
            Some(shorter) if self.places.contains_key(shorter) || self.decoded(shorter).is_some() => {
                Found::Redirect(shorter)
            }
            _ => Found::Nothing,
        }
    }

    /// Returns the place in the manifest of the applications that are mounted above a path.
    pub fn mount_endpoint(&self, path: &str) -> Option<usize> {
        self.mounted(path).map(|mount| mount.endpoint)
    }

    /// Returns the label of the applications that are mounted above a path.
    pub fn mount_label(&self, path: &str) -> Option<usize> {
        self.mounted(path).map(|mount| mount.label)
    }

    fn mounted(&self, path: &str) -> Option<&Mounted> {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        self.mounts.iter().find(|mount| {
            // The path itself, too: the worker adds the slash.
            decoded.strip_prefix(&mount.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn decoded(&self, path: &str) -> Option<&(Place, usize)> {
        if !path.contains('%') {
            return None;
        }
        let decoded: Cow<'_, str> = percent_decode_str(path).decode_utf8().ok()?;
        self.places.get(decoded.as_ref())
    }

    fn add(&mut self, path: String, place: Place) {
        if !self.places.contains_key(&path) {
            self.labels.push(path.clone());
            self.places.insert(path, (place, self.labels.len() - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn routes(prefix: &str) -> Routes {
        let manifest = json!({
            "name": "S", "import_string": "s:S", "slots": 1, "path_prefix": prefix,
            "endpoints": [{"name": "a", "route": "/v1/a"}, {"name": "b", "route": "/größe b"}],
        });
        let endpoints = Endpoints { live: Some("/v1/a".to_owned()), ready: Some("/health".to_owned()) };
        Routes::new(&serde_json::from_value(manifest).unwrap(), &endpoints)
    }

    #[test]
    fn apis_and_pages_are_found() {
        let routes = routes("");
        assert_eq!(routes.find("/v1/a"), Found::Place(Place::Api(0), 0));
        assert_eq!(routes.find("/gr%C3%B6%C3%9Fe%20b"), Found::Place(Place::Api(1), 1));
        assert_eq!(routes.find("/healthz"), Found::Place(Place::Page(Page::Live), 3));
        assert_eq!(routes.find("/"), Found::Place(Place::Page(Page::Index), 7));
        assert_eq!(routes.find("/health"), Found::Place(Place::Page(Page::Ready), 9));
        assert_eq!(routes.find("/v1/a/"), Found::Redirect("/v1/a"));
        assert_eq!(routes.find("/v1"), Found::Nothing);
        assert_eq!(routes.find("//"), Found::Redirect("/"));
        assert_eq!(routes.labels()[routes.unmatched()], "unmatched");
    }

    #[test]
    fn a_service_of_functions_has_no_schema() {
        let manifest =
            json!({"name": "s", "style": "legacy", "import_string": "s:s", "slots": 1, "endpoints": []});
        let routes = Routes::new(&serde_json::from_value(manifest).unwrap(), &Endpoints::default());
        assert_eq!(routes.find("/schema.json"), Found::Nothing);
        assert!(matches!(routes.find("/docs.json"), Found::Place(Place::Page(Page::Docs), _)));
    }

    #[test]
    fn a_task_has_paths_below_its_own() {
        let manifest = json!({
            "name": "S", "import_string": "s:S", "slots": 1, "path_prefix": "/p",
            "endpoints": [{"name": "a", "route": "/a", "is_task": true}, {"name": "b", "route": "/a/get"}],
        });
        let routes = Routes::new(&serde_json::from_value(manifest).unwrap(), &Endpoints::default());
        assert_eq!(routes.find("/p/a"), Found::Place(Place::Api(0), 0));
        assert_eq!(routes.find("/p/a/submit"), Found::Place(Place::Task(0, Action::Submit), 2));
        assert!(matches!(routes.find("/p/a/cancel"), Found::Place(Place::Task(0, Action::Cancel), _)));
        // An API of the same path comes first.
        assert_eq!(routes.find("/p/a/get"), Found::Place(Place::Api(1), 1));
        assert_eq!(routes.find("/p/a/get/submit"), Found::Nothing);
    }

    #[test]
    fn mounted_applications_come_before_the_pages_for_people() {
        let manifest = json!({
            "name": "S", "import_string": "s:S", "slots": 1,
            "endpoints": [
                {"name": "a", "route": "/a"}, {"name": ":mounts", "route": "/", "mounts": ["/m", "/n x/"]},
            ],
        });
        let routes = Routes::new(&serde_json::from_value(manifest).unwrap(), &Endpoints::default());
        assert_eq!(routes.find("/a"), Found::Place(Place::Api(0), 0));
        assert!(matches!(routes.find("/m"), Found::Place(Place::Mounted(1), _)));
        assert!(matches!(routes.find("/m/x"), Found::Place(Place::Mounted(1), _)));
        assert!(matches!(routes.find("/n%20x/y"), Found::Place(Place::Mounted(1), _)));
        assert_eq!(routes.find("/mx"), Found::Nothing);
        assert!(matches!(routes.find("/"), Found::Place(Place::Page(Page::Index), _)));
        let manifest = json!({
            "name": "S", "import_string": "s:S", "slots": 1,
            "endpoints": [{"name": "a", "route": "/a"}, {"name": ":mounts", "route": "/", "mounts": ["/"]}],
        });
        let routes = Routes::new(&serde_json::from_value(manifest).unwrap(), &Endpoints::default());
        for path in ["/", "/docs.json", "/a/", "/anything"] {
            assert!(matches!(routes.find(path), Found::Place(Place::Mounted(1), _)), "{path}");
        }
        for path in ["/a", "/livez", "/metrics", "/schema.json"] {
            assert!(!matches!(routes.find(path), Found::Place(Place::Mounted(_), _)), "{path}");
        }
        assert_eq!(routes.find_own("/a/"), Found::Redirect("/a"));
        assert_eq!(routes.labels().last().map(String::as_str), Some("unmatched"));
    }

    #[test]
    fn the_prefix_is_before_all_but_the_schema() {
        let routes = routes("/p");
        assert_eq!(routes.find("/p/v1/a"), Found::Place(Place::Api(0), 0));
        assert!(matches!(routes.find("/p/livez"), Found::Place(Place::Page(Page::Live), _)));
        assert!(matches!(routes.find("/p/"), Found::Place(Place::Page(Page::Index), _)));
        assert!(matches!(routes.find("/schema.json"), Found::Place(Place::Page(Page::Schema), _)));
        assert_eq!(routes.find("/v1"), Found::Nothing);
        assert_eq!(routes.find("/livez"), Found::Nothing);
    }
}
