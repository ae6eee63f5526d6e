//! Where users are logged in: `.yatai.yaml` in the home directory, which the original tool reads and writes too.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::error::CloudError;
use crate::fs::FsError;
use crate::redact::Secret;
use crate::yaml::{self, Value};

/// The file in the home directory.
const FILE_NAME: &str = ".yatai.yaml";
/// The name of a context when the user gives none.
const DEFAULT_NAME: &str = "default";
/// The name of the context that the environment makes.
pub const ENVIRONMENT_CONTEXT: &str = "__env__";
/// The public service.
pub const DEFAULT_ENDPOINT: &str = "https://cloud.bentoml.com";

/// A server, and who the user is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudContext {
    /// What the user calls it.
    pub name: String,
    /// The server's address.
    pub endpoint: String,
    /// The token.
    pub api_token: Secret,
    /// The address of the account, where it is known.
    pub email: Option<String>,
}

impl CloudContext {
    /// The context that the environment makes: of a token, and of the address of a server if it is not the public one.
    pub fn of_environment(api_token: &str, endpoint: Option<&str>) -> Self {
        Self {
            name: ENVIRONMENT_CONTEXT.to_owned(),
            endpoint: endpoint.unwrap_or(DEFAULT_ENDPOINT).to_owned(),
            api_token: Secret::new(api_token),
            email: None,
        }
    }
}

/// All contexts of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contexts {
    contexts: Vec<CloudContext>,
    current: String,
}

/// What became of a context that was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Its name was new.
    Added,
    /// There was another one of its name.
    Replaced,
}

impl Contexts {
    /// Reads the contexts of a home; makes the file on first use.
    pub fn open(home: &Path) -> Result<Self, CloudError> {
        let path = file(home);
        if let Some(text) = read(&path)? {
            return parse(&text).ok_or(CloudError::Contexts { path });
        }
        let _lock = lock(home)?;
        let none = Self::none();
        // Somebody else may have made it in the meantime.
        if !path.exists() {
            none.write(&path)?;
        }
        read(&path)?.map_or(Ok(none), |text| parse(&text).ok_or(CloudError::Contexts { path }))
    }

    /// The name of the context that is used when none is named.
    pub fn current_name(&self) -> &str {
        &self.current
    }

    /// The names of all contexts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contexts.iter().map(|context| context.name.as_str())
    }

    /// The context with a name, or the current one.
    pub fn get(&self, name: Option<&str>) -> Result<&CloudContext, CloudError> {
        let name = name.unwrap_or(&self.current);
        let found = self.contexts.iter().find(|context| context.name == name);
        found.ok_or_else(|| CloudError::NoContext { name: name.to_owned() })
    }

    /// Adds a context to the file, or replaces the one of its name.
    pub fn save(home: &Path, context: CloudContext) -> Result<Saved, CloudError> {
        Self::change(home, |contexts| {
            let known = contexts.contexts.iter().position(|known| known.name == context.name);
            let Some(index) = known else {
                contexts.contexts.push(context);
                return Ok(Saved::Added);
            };
            contexts.contexts[index] = context;
            Ok(Saved::Replaced)
        })
    }

    /// Makes another context the current one.
    pub fn switch(home: &Path, name: &str) -> Result<(), CloudError> {
        Self::change(home, |contexts| {
            contexts.current = contexts.get(Some(name))?.name.clone();
            Ok(())
        })
    }

    fn change<T>(
        home: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        let _lock = lock(home)?;
        let path = file(home);
        let text = read(&path)?;
        let known = text.map_or_else(|| Some(Self::none()), |text| parse(&text));
        let mut contexts = known.ok_or_else(|| CloudError::Contexts { path: path.clone() })?;
        let changed = change(&mut contexts)?;
        contexts.write(&path)?;
        Ok(changed)
    }

    fn none() -> Self {
        Self { contexts: Vec::new(), current: DEFAULT_NAME.to_owned() }
    }

    /// The file's content, in the bytes of the original tool.
    fn to_yaml(&self) -> String {
        let contexts = self.contexts.iter().map(|context| {
            Value::map([
                ("api_token", Value::text(context.api_token.expose())),
                ("email", Value::or_null(context.email.as_deref())),
                ("endpoint", context.endpoint.as_str().into()),
                ("name", context.name.as_str().into()),
            ])
        });
        let current = Value::text(&self.current);
        Value::map([("contexts", Value::list(contexts)), ("current_context_name", current)]).to_yaml()
    }

    /// Replaces the file in one step; nobody but its owner can ever read it.
    fn write(&self, path: &Path) -> Result<(), CloudError> {
        let home = path.parent().unwrap_or(Path::new("."));
        let write = || {
            // Temporary files are made with mode 0600.
            let mut file = tempfile::Builder::new().prefix(".ekiben-contexts-").tempfile_in(home)?;
            file.write_all(self.to_yaml().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        Ok(write().map_err(FsError::of("write", path))?)
    }
}

fn file(home: &Path) -> PathBuf {
    home.join(FILE_NAME)
}

fn lock(home: &Path) -> Result<fs::File, CloudError> {
    Ok(crate::fs::lock(&home.join("tmp/locks/cloud-contexts.lock"))?)
}

fn read(path: &Path) -> Result<Option<String>, CloudError> {
    match crate::fs::read_if_present(path)? {
        None => Ok(None),
        Some(bytes) => {
            let text =
                String::from_utf8(bytes).map_err(|_| CloudError::Contexts { path: path.to_owned() })?;
            Ok(Some(text).filter(|text| !text.trim().is_empty()))
        }
    }
}

fn parse(text: &str) -> Option<Contexts> {
    let document = yaml::read_value(text).ok()?;
    if document == Value::Null {
        return Some(Contexts::none());
    }
    document.as_map()?;
    let current = match document.get("current_context_name") {
        None | Some(Value::Null) => DEFAULT_NAME.to_owned(),
        Some(name) => scalar(name)?,
    };
    let contexts = match document.get("contexts") {
        None | Some(Value::Null) => Vec::new(),
        Some(contexts) => contexts.as_list()?.iter().map(context).collect::<Option<_>>()?,
    };
    Some(Contexts { contexts, current })
}

fn context(value: &Value) -> Option<CloudContext> {
    Some(CloudContext {
        name: scalar(value.get("name")?)?,
        endpoint: scalar(value.get("endpoint")?)?,
        api_token: Secret::new(scalar(value.get("api_token")?)?),
        email: value.get("email").and_then(scalar),
    })
}

/// Text; a number that stands for one, as in a token of digits, is accepted.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        other => other.as_text().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn context(name: &str, token: &str) -> CloudContext {
        CloudContext {
            name: name.into(),
            endpoint: "http://127.0.0.1:18992".into(),
            api_token: Secret::new(token),
            email: Some("me@example.com".into()),
        }
    }

    #[test]
    fn the_file_has_the_bytes_of_the_original_tool() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Contexts::open(home.path()).unwrap(), Contexts::none());
        let path = home.path().join(FILE_NAME);
        assert_eq!(fs::read_to_string(&path).unwrap(), "contexts: []\ncurrent_context_name: default\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Contexts::save(home.path(), context("default", "tok123")).unwrap(), Saved::Added);
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r"
        contexts:
        - api_token: tok123
          email: me@example.com
          endpoint: http://127.0.0.1:18992
          name: default
        current_context_name: default
        ");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Contexts::save(home.path(), context("default", "next")).unwrap(), Saved::Replaced);
        let contexts = Contexts::open(home.path()).unwrap();
        assert_eq!(contexts.get(None).unwrap().api_token.expose(), "next");
        assert!(!format!("{contexts:?}").contains("next"));
    }

    #[test]
    fn a_context_is_chosen_by_name() {
        let home = tempfile::tempdir().unwrap();
        Contexts::save(home.path(), context("one", "1234")).unwrap();
        Contexts::save(home.path(), context("two", "2")).unwrap();
        let missing = Contexts::open(home.path()).unwrap().get(None).unwrap_err();
        assert_eq!(missing.to_string(), "No cloud context default found");
        assert!(Contexts::switch(home.path(), "three").is_err());
        Contexts::switch(home.path(), "two").unwrap();
        let contexts = Contexts::open(home.path()).unwrap();
        assert_eq!(contexts.names().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(contexts.get(None).unwrap().name, "two");
        assert_eq!(contexts.get(Some("one")).unwrap().api_token.expose(), "1234");
    }

    #[test]
    fn what_is_no_file_of_contexts_is_an_error_that_shows_nothing_of_it() {
        let home = tempfile::tempdir().unwrap();
        for text in ["- a", "contexts: [{api_token: hunter2}]", "contexts: {hunter2", "hunter2"] {
            fs::write(home.path().join(FILE_NAME), text).unwrap();
            let error = Contexts::open(home.path()).unwrap_err();
            assert!(matches!(&error, CloudError::Contexts { .. }), "{text}");
            assert!(!format!("{error}{error:?}").contains("hunter2"));
        }
        fs::write(home.path().join(FILE_NAME), "\n").unwrap();
        assert_eq!(Contexts::open(home.path()).unwrap(), Contexts::none());
    }
}
