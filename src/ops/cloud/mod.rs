//! Pushing to and pulling from BentoCloud and servers like it, and logging in there.

mod account;
mod error;
mod linked;
mod pull;
mod push;

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::cloud::{Client, CloudError, Route, Settings};
use crate::hub::Hub;
use crate::report::Activity;
use crate::store::{self, Home, Kind};
use crate::tag::Tag;

pub use account::{Account, choose, finish_login, invitation, token_of};
pub use error::ExchangeError;
pub use pull::{PullSettings, declared_models, pull_bento, pull_model};
pub use push::{PushSettings, push_bento, push_model};

use super::Context;

/// A server and a home, between which items travel.
pub struct Remote {
    client: Client,
    home: Home,
    http: crate::http::Client,
    /// The hubs of bentos' other models; `None` where nothing says in which directory their cache is.
    hub: Option<Hub>,
    activity: Activity,
}

impl Remote {
    /// The server of a context: the named one, that of the environment, or the current one.
    pub fn open(context: &Context, named: Option<&str>) -> Result<Self, ExchangeError> {
        let chosen = choose(context, named)?;
        let home = Home::open(&context.home)?;
        let http = context.http()?;
        let client = Client::new(http.clone(), &chosen, Settings::new(home.scratch()))?;
        Ok(Self { hub: context.hub().ok(), ..Self::new(client, http, home, context.activity()) })
    }

    /// A client and a home that are made already, without any hub.
    pub fn new(client: Client, http: crate::http::Client, home: Home, activity: Activity) -> Self {
        Self { client, home, http, hub: None, activity }
    }
}

/// What became of one item.
#[derive(Clone, Debug, Serialize)]
pub struct Transferred {
    /// Model or bento.
    #[serde(serialize_with = "kind_word")]
    pub kind: Kind,
    /// Its tag.
    pub tag: Tag,
    /// What became of it.
    pub outcome: Outcome,
    /// The way it went up.
    #[serde(skip)]
    pub route: Option<Route>,
    /// Where it is in the store.
    pub path: Option<PathBuf>,
}

/// What can become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was sent.
    Pushed,
    /// The server had it already.
    PresentThere,
    /// The server knows it now; its contents are in another registry.
    Registered,
    /// It was fetched.
    Pulled,
    /// The store had it already.
    PresentHere,
    /// The store has a newer one.
    NewerHere,
    /// The server has no contents of it: they are in another registry.
    NoContent,
}

/// Who is told what became of each item, as soon as that is known.
pub type Tell<'a> = &'a dyn Fn(&Transferred);

impl Transferred {
    fn new(kind: Kind, tag: Tag, outcome: Outcome) -> Self {
        Self { kind, tag, outcome, route: None, path: None }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn kind_word<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*kind))
}

/// `model` or `bento`, as in the middle of a sentence.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "model",
        Kind::Bento => "bento",
    }
}

impl From<store::Error> for ExchangeError {
    fn from(error: store::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<CloudError> for ExchangeError {
    fn from(error: CloudError) -> Self {
        Self::Cloud(Box::new(error))
    }
}
