//! From an error to what people read: whose matter it is, its causes, and what to do next. The only such place.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

mod hub;

use super::commands::{DeleteError, LoginError, NoCriterion, NotARegistry, UsageError};
use crate::archive::{ArchiveError, Fault};
use crate::bentofile;
use crate::cloud::CloudError;
use crate::debian;
use crate::discover;
use crate::engine::EngineError;
use crate::fs::FsError;
use crate::hub::HubError;
use crate::ops::archives::ArchivesError;
use crate::ops::artifacts::ArtifactsError;
use crate::ops::build::BuildError;
use crate::ops::cloud::ExchangeError;
use crate::ops::containerize::ContainerizeError;
use crate::ops::models::ModelsError;
use crate::ops::serve::HostServeError;
use crate::pack::PackError;
use crate::plan::CommandError;
use crate::pydeps;
use crate::registry::RegistryError;
use crate::remote::RemoteError;
use crate::report::Interrupted;
use crate::resolve::ResolveError;
use crate::serve::ServeError;
use crate::serve::target::TargetError;
use crate::serve::worker::supervisor::WorkerError;
use crate::store::{self, CopyError};
use crate::tag;
use crate::text::NotUtf8;
use crate::transport::{SCHEMES, TransportError};

/// What to do with a file in another encoding.
const SAVE_AS_UTF8: &str = "save the file as UTF-8";

/// Whose matter an error is, as the exit status says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The user's input.
    Input,
    /// The user's command line.
    CommandLine,
    /// The network, an engine, a registry, the disk.
    Surroundings,
    /// The user asked to stop.
    Interrupted,
}

impl Kind {
    /// The exit status.
    pub(super) fn status(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::CommandLine => 2,
            Self::Surroundings => 3,
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }
}

/// An error, explained.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// Whose matter it is.
    pub(super) kind: Kind,
    /// What to try next.
    pub(super) hint: Option<String>,
}

fn diagnosis(kind: Kind, hint: &str) -> Diagnosis {
    Diagnosis { kind, hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()) }
}

fn input(hint: &str) -> Diagnosis {
    diagnosis(Kind::Input, hint)
}

fn surroundings(hint: &str) -> Diagnosis {
    diagnosis(Kind::Surroundings, hint)
}

/// What is to be said of an error: of the outermost cause that is known.
pub(super) fn diagnose(error: &(dyn Error + 'static)) -> Diagnosis {
    // What is read while something is written may come from a hub, and is no matter of what is written.
    let known = chain(error).find_map(carried).map(hub::hub).or_else(|| chain(error).find_map(explain));
    let is_interrupted = chain(error).any(is_interrupt);
    match known {
        _ if is_interrupted => {
            diagnosis(Kind::Interrupted, "nothing was left half-done; run the command again to go on")
        }
        Some(known) => known,
        None if chain(error).any(<dyn Error>::is::<io::Error>) => surroundings(""),
        None => input(""),
    }
}

/// The text of an error: itself, its causes, and a hint.
pub(super) fn text(error: &(dyn Error + 'static), diagnosis: &Diagnosis) -> String {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in chain(error).skip(1) {
        // Some errors repeat their cause.
        let message = cause.to_string();
        if !last.ends_with(&message) {
            writeln!(text, "  caused by: {}", message.replace('\n', "\n    "))
                .expect("writing to a string never fails");
        }
        last = message;
    }
    if let Some(hint) = &diagnosis.hint {
        writeln!(text, "\nhint: {hint}").expect("writing to a string never fails");
    }
    text
}

/// The text of an error on one line, with its causes and without a hint: for what is only warned of.
pub(super) fn line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for message in chain(error).map(ToString::to_string) {
        if line.is_empty() {
            line = message;
        } else if !line.ends_with(&message) {
            line = format!("{line}: {message}");
        }
    }
    line.replace('\n', " ")
}

/// An error and its causes, those inside of I/O errors included: these name only the causes of what they carry.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => error.source(),
    }
}

/// The error of a hub inside of an I/O error.
fn carried<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a HubError> {
    error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn is_interrupt(error: &(dyn Error + 'static)) -> bool {
    error.is::<Interrupted>() || error.to_string() == Interrupted.to_string()
}

fn explain(error: &(dyn Error + 'static)) -> Option<Diagnosis> {
    if let Some(error) = error.downcast_ref::<ContainerizeError>() {
        return containerize(error);
    }
    if let Some(error) = error.downcast_ref::<TransportError>() {
        return transport(error);
    }
    if let Some(error) = error.downcast_ref::<BuildError>() {
        return build(error);
    }
    if let Some(error) = error.downcast_ref::<ModelsError>() {
        return models(error);
    }
    if let Some(error) = error.downcast_ref::<ArchivesError>() {
        return Some(archives(error));
    }
    if let Some(error) = error.downcast_ref::<ArtifactsError>() {
        return artifacts(error);
    }
    if let Some(error) = error.downcast_ref::<HostServeError>() {
        return serve(error);
    }
    if let Some(error) = error.downcast_ref::<ExchangeError>() {
        return exchange(error);
    }
    if let Some(diagnosis) = hub::explain(error) {
        return Some(diagnosis);
    }
    let explained = if let Some(error) = error.downcast_ref::<store::Error>() {
        store(error)
    } else if let Some(error) = error.downcast_ref::<CloudError>() {
        cloud(error)
    } else if let Some(error) = error.downcast_ref::<LoginError>() {
        login(error)
    } else if let Some(error) = error.downcast_ref::<RegistryError>() {
        registry(error)
    } else if let Some(error) = error.downcast_ref::<EngineError>() {
        engine(error)
    } else if let Some(error) = error.downcast_ref::<debian::Error>() {
        debian(error)
    } else if let Some(error) = error.downcast_ref::<pydeps::Error>() {
        python(error)
    } else if let Some(error) = error.downcast_ref::<ResolveError>() {
        resolve(error)
    } else if error.is::<FsError>() {
        file_system(error)
    } else if error.is::<CommandError>() {
        command()
    } else if error.is::<NotARegistry>() {
        diagnosis(Kind::CommandLine, "name it as `docker://REGISTRY/REPOSITORY:TAG`")
    } else if error.is::<NoCriterion>() {
        diagnosis(Kind::CommandLine, "add `--keep N`, `--older-than AGE` or `--label KEY`")
    } else if let Some(error) = error.downcast_ref::<DeleteError>() {
        match error {
            DeleteError::Target { .. } => diagnosis(Kind::CommandLine, ""),
            DeleteError::Aborted => input("answer the question, or delete without one with `--yes`"),
        }
    } else if let Some(UsageError::Transport(_)) = error.downcast_ref::<UsageError>() {
        diagnosis(Kind::CommandLine, &format!("images are named with one of {}", SCHEMES.join(", ")))
    } else if error.is::<UsageError>() {
        diagnosis(Kind::CommandLine, "run `ekiben containerize --help` to see what there is")
    } else if error.is::<tag::Error>() {
        input("a tag is `name:version`, of lower-case letters, digits, `-`, `_` and `.`")
    } else {
        return None;
    };
    Some(explained)
}

fn serve(error: &HostServeError) -> Option<Diagnosis> {
    match error {
        HostServeError::NotFound { .. } => Some(input(
            "run `ekiben list` to see the bentos in the store, or name a directory with a `bentofile.yaml`",
        )),
        HostServeError::Bento { source, .. } => Some(store(source)),
        HostServeError::Serve(ServeError::Target(error)) => Some(target(error)),
        HostServeError::Serve(ServeError::Worker(error)) => worker(error),
        HostServeError::Context(_) | HostServeError::Sdk(_) | HostServeError::Serve(_) => None,
    }
}

fn target(error: &TargetError) -> Diagnosis {
    match error {
        TargetError::NothingHere { .. } => {
            input("name a directory with a `bentofile.yaml` or `service.py`, or a service as `module:Class`")
        }
        TargetError::NoBento { .. } => input("the bento is damaged: build it again, or import it again"),
        TargetError::Syntax { path, .. } if path.ends_with("bento.yaml") => {
            input("the bento is damaged: build it again, or import it again")
        }
        TargetError::Syntax { .. } => input("mend the file at that place"),
        TargetError::Read { .. } => named_file(error, "name a file that can be read"),
    }
}

fn worker(error: &WorkerError) -> Option<Diagnosis> {
    match error {
        WorkerError::Spawn(error) if error.is_no_program() => {
            Some(input("name a Python that has the service's packages with `--python PATH`"))
        }
        WorkerError::Failed { .. } => Some(input("mend the service where the traceback above ends")),
        _ => None,
    }
}

fn build(error: &BuildError) -> Option<Diagnosis> {
    Some(match error {
        BuildError::Bentofile(error) => bentofile(error),
        BuildError::Discover(error) | BuildError::Target { source: error, .. } => discover(error),
        BuildError::Unresolved { .. } => {
            input("write the value as a literal, or list the model under `models:` in the bentofile")
        }
        BuildError::ServiceLeftOut { .. } => input("mend `include` and `exclude` in the bentofile"),
        BuildError::Thread(_) => surroundings(""),
        BuildError::Unsupported { key, .. } => input(&format!("take `{key}` out of the bentofile")),
        BuildError::MissingModel { query, .. } => input(&format!(
            "run `ekiben models list` to see what is stored; save it from Python, or with `ekiben models create {} --from DIR`",
            if query.wants_latest() { query.name().to_owned() } else { query.to_string() }
        )),
        BuildError::HubModel { source, .. } => hub::hub(source),
        BuildError::HubAccess { source, .. } => hub::access(source),
        BuildError::ModelLock(_) => input("write it anew with `ekiben lock`"),
        BuildError::Python(error) | BuildError::Requirements(error) => python(error),
        BuildError::ArgumentFile { .. } => {
            input("name a YAML file with a map of arguments with `--arg-file PATH`")
        }
        BuildError::Base(error) => debian(error),
        BuildError::Store(error) => store(error),
        BuildError::Read { .. } | BuildError::Write { .. } | BuildError::Http(_) => file_system(error),
        BuildError::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
        _ => return None,
    })
}

fn bentofile(error: &bentofile::Error) -> Diagnosis {
    use bentofile::Error as E;
    match error {
        E::NotFound { .. } | E::NoContext { .. } => {
            input("name the project's directory, or its bentofile with `--bentofile PATH`")
        }
        E::Read { .. } => {
            named_file(error, "name the project's directory, or its bentofile with `--bentofile PATH`")
        }
        E::NamedFile { key, .. } => named_file(
            error,
            &format!("make the file, or mend `{key}`; paths start at the project's directory"),
        ),
        E::Encoding { .. } => input(SAVE_AS_UTF8),
        _ => input("mend the bentofile at that place"),
    }
}

fn discover(error: &discover::Error) -> Diagnosis {
    use discover::Error as E;
    match error {
        error if error.is_about_target() => {
            input("name the service in the bentofile, as `service: \"module:Class\"`")
        }
        E::Read { .. } => named_file(error, "mend the path of the service's file"),
        E::Encoding { .. } => input(SAVE_AS_UTF8),
        _ => input("mend the service at that place"),
    }
}

fn models(error: &ModelsError) -> Option<Diagnosis> {
    Some(match error {
        ModelsError::NotADirectory { .. } => {
            input("name the directory with the model's files with `--from DIR`")
        }
        ModelsError::ReservedFile { .. } => input("take the file out of the directory"),
        ModelsError::InUse { .. } => input("delete those bentos first"),
        ModelsError::Store(error) => store(error),
        ModelsError::Write { .. } => file_system(error),
        ModelsError::Name(_) => return None,
        ModelsError::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
    })
}

fn archives(error: &ArchivesError) -> Diagnosis {
    use ArchivesError as E;
    match error {
        E::Remote(error) => remote(error),
        E::FolderElsewhere { .. } => diagnosis(Kind::CommandLine, "choose another `--format`"),
        E::Terminal => diagnosis(Kind::CommandLine, "send it to a file or a program, as in `… - > FILE`"),
        E::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            input("check the path; `-` reads standard input")
        }
        E::NoParent { .. } => input("create the directory first"),
        E::Exists { .. } => input("name a directory that does not exist yet"),
        E::Open { .. } | E::File(_) => file_system(error),
        E::Import { source, .. } | E::Export { source, .. } => chain(source)
            .find_map(|cause| cause.downcast_ref::<RemoteError>())
            .map_or_else(|| archive(source), remote),
        E::WrongKind { wanted, .. } if wanted.directory() == "models" => {
            input("bentos are imported with `ekiben import`")
        }
        E::WrongKind { .. } => input("models are imported with `ekiben models import`"),
        E::NoItem { wanted, .. } => input(&format!(
            "'{}' has to stand at the top of the archive, not in a directory",
            wanted.file_name()
        )),
        E::MissingModel { .. } => {
            input("import the model first, or build the bento again where its models are")
        }
        E::NotADescription { .. } | E::Item { .. } | E::MisplacedModel { .. } | E::NoModelStore { .. } => {
            input("export it again with the tool that it came from")
        }
        E::Store(error) => match &**error {
            store::Error::AlreadyExists { .. } => input("delete it first if the archive's is the better one"),
            error => store(error),
        },
        E::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
    }
}

fn artifacts(error: &ArtifactsError) -> Option<Diagnosis> {
    use ArtifactsError as E;
    Some(match error {
        E::Manifest { .. } => input(
            "name an artifact of type `application/vnd.cncf.model.manifest.v1+json`, as `push` makes them",
        ),
        E::Pack { source, .. } | E::Unpack { source, .. } => archive(source),
        E::Taken { .. } => input("do not trust whoever made it; nothing of it was kept"),
        E::NoRoom { .. } => surroundings("make room, or set `BENTOML_HOME` to a directory on another disk"),
        E::OtherItem { .. } => input("do not trust whoever pushed it; what is here was kept"),
        E::File(_) => file_system(error),
        E::Transport(error) => return transport(error),
        E::Archives(error) => archives(error),
        E::Store(error) => store(error),
        E::Name { .. } | E::Digest(_) | E::Interrupted(_) => return None,
    })
}

fn remote(error: &RemoteError) -> Diagnosis {
    use RemoteError as E;
    match error {
        E::Scheme { .. } | E::Malformed { .. } => diagnosis(
            Kind::CommandLine,
            "places are `s3://BUCKET/KEY`, `gs://`, `az://`, `ftp://HOST/PATH`, `sftp://USER@HOST/PATH`, `https://`, `webdavs://`, `dropbox://`",
        ),
        E::Credentials { wanted, .. } => input(&format!("set {wanted}")),
        E::CredentialsFile { .. } | E::Spool { .. } => file_system(error),
        E::NoSsh { .. } => surroundings("install the package `openssh-client`"),
        E::NotFound { .. } => input("check the bucket or host, and the path"),
        E::Denied { .. } => surroundings("check the credentials, and what they may do there"),
        E::Status { status: 401 | 403, .. } => {
            surroundings("put user and password into the URL or into `~/.netrc`")
        }
        E::TooLarge { .. } | E::Cut { .. } => {
            surroundings("export to a file, and send that with the service's own program")
        }
        E::Service { .. } | E::Status { .. } | E::Http(_) => {
            surroundings("check the address and the network, and try again")
        }
        E::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
    }
}

fn archive(error: &ArchiveError) -> Diagnosis {
    use ArchiveError as E;
    match error {
        E::UnknownForm => input("name an archive that was exported, or a directory"),
        E::Member { fault: Fault::Encrypted, .. } => input("pack it again without a password"),
        E::Member { .. } | E::Bomb { .. } | E::TooMany { .. } | E::LongNames { .. } => {
            input("do not trust whoever made it; nothing of it was kept")
        }
        E::Truncated | E::Trailing | E::Damaged(_) | E::Malformed { .. } => {
            input("fetch or export it again; nothing of it was kept")
        }
        E::Unfit { .. } => input("take it out of the item's directory, or put a file in its place"),
        E::NoRoom { .. } => surroundings("make room on the disk, or let `BENTOML_HOME` point to another one"),
        E::Changed { .. } => surroundings("try again when nobody writes there"),
        E::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
        E::Source(_) | E::Sink(_) | E::Read { .. } | E::Write { .. } => file_system(error),
    }
}

fn exchange(error: &ExchangeError) -> Option<Diagnosis> {
    use ExchangeError as E;
    Some(match error {
        E::NotHere { kind, .. } if kind.directory() == "models" => {
            input("run `ekiben models list` to see what is stored")
        }
        E::NotHere { .. } => input("run `ekiben list` to see what is stored"),
        E::NotThere { .. } | E::NoneThere { .. } => {
            input("check the tag, and that it was pushed to this server")
        }
        E::NoVersion { .. } => input("name the version, as in `NAME:VERSION`"),
        E::NoBentofile => input("name a model, or a bentofile with `--bentofile PATH`"),
        E::NoModels => input("name a model, or list models under `models:` in the bentofile"),
        E::Bentofile(error) => bentofile(error),
        E::Upload { source, .. } | E::Download { source, .. } => cloud(source),
        E::HubAccess(error) => hub::access(error),
        E::HubEntry(_) => input("its bento may have to be built again"),
        E::HubModel { source, .. } => hub::hub(source),
        E::OtherItem { .. } => input("whoever pushed it may have to push it again; nothing of it was kept"),
        E::Contents(error) => archives(error),
        E::Pack { source, .. } => archive(source),
        E::Cloud(error) => cloud(error),
        E::Store(error) => store(error),
        E::Http(_) => surroundings(""),
        E::Tag(_) => return None,
        E::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
    })
}

fn cloud(error: &CloudError) -> Diagnosis {
    use CloudError as E;
    const LOG_IN: &str = "run `ekiben cloud login`, or set `BENTO_CLOUD_API_KEY` and, for another server, `BENTO_CLOUD_API_ENDPOINT`";
    match error {
        E::NoContext { .. } | E::Token => input(LOG_IN),
        E::Endpoint { .. } => input("log in again with `ekiben cloud login --endpoint URL`"),
        E::Contexts { .. } => input("mend the file, or move it away and log in again"),
        E::Refused { .. } if error.is_unauthorized() => input(LOG_IN),
        E::Refused { status, .. } if status.is_client_error() => input(""),
        E::Exchange { .. } => surroundings("check the address of the server, and the network"),
        E::Read(_) | E::File(_) => file_system(error),
        _ => surroundings("run the command again: what has arrived is not sent again"),
    }
}

fn login(error: &LoginError) -> Diagnosis {
    match error {
        LoginError::NoToken => diagnosis(
            Kind::CommandLine,
            "pipe it to `ekiben cloud login --api-token-stdin`, or make one with `--web`",
        ),
        LoginError::BadCredentials { .. } => input("check the token and the address of the server"),
        LoginError::Read(_) => surroundings(""),
    }
}

fn containerize(error: &ContainerizeError) -> Option<Diagnosis> {
    Some(match error {
        ContainerizeError::Store(error) => store(error),
        ContainerizeError::Resolve(error) => resolve(error),
        ContainerizeError::Debian(error) => debian(error),
        ContainerizeError::Python(error) => python(error),
        ContainerizeError::Transport(error) => return transport(error),
        ContainerizeError::Interrupted(_) | ContainerizeError::Pack(PackError::Interrupted(_)) => {
            diagnosis(Kind::Interrupted, "")
        }
        ContainerizeError::Command(_) => command(),
        ContainerizeError::Pack(_) | ContainerizeError::File(_) | ContainerizeError::Http(_) => {
            file_system(error)
        }
        ContainerizeError::Model { .. } => input(
            "run `ekiben models list` to see what is stored, and build the bento again where its models are",
        ),
        ContainerizeError::OldBento { .. } => {
            input("build the bento again with ekiben, without what the message names")
        }
        ContainerizeError::Entry(_) => input("build the bento again with this version of ekiben"),
        ContainerizeError::Hub(error) => hub::access(error),
        ContainerizeError::HubModel { source, .. } | ContainerizeError::HubContents { source, .. } => {
            hub::hub(source)
        }
        ContainerizeError::OtherBytes { .. } => input(
            "lock the models again with `ekiben lock` where their files can be downloaded, and build the bento again",
        ),
        ContainerizeError::Lock(_) => {
            input("build the bento again: its lock is damaged, or of another version of ekiben")
        }
        ContainerizeError::BaseImage { .. } => {
            input("mend `docker.base_image` in the bentofile, and build again")
        }
        ContainerizeError::ImageTag { .. } => {
            diagnosis(Kind::CommandLine, "name it with `--image-tag NAME:TAG`")
        }
        ContainerizeError::NotDebian { .. } => {
            input("choose a base that has the packages, or a Debian one with `--base debian:SUITE`")
        }
    })
}

fn transport(error: &TransportError) -> Option<Diagnosis> {
    Some(match error {
        TransportError::Registry(error) => registry(error),
        TransportError::Engine(error) => engine(error),
        TransportError::File { .. } => file_system(error),
        TransportError::Destination { .. } => {
            named_file(error, "name a new file or directory in a directory that can be written to")
        }
        TransportError::NotAnArchive { source, .. } => {
            let hint = "name a tar that `docker save`, `skopeo` or ekiben wrote, uncompressed";
            // What the system did not say was found in the file.
            if source.raw_os_error().is_none() { input(hint) } else { named_file(error, hint) }
        }
        TransportError::NoSuchPath { .. } => input(
            "check the path: it is relative to the working directory, and an image layout has an `index.json`",
        ),
        TransportError::NotALayout { .. } => input("name an empty or new directory"),
        TransportError::NotFound { .. } => {
            input("run `ekiben list`, or look at what is there with the tool that wrote it")
        }
        TransportError::Ambiguous { .. } => input("add `:NAME` to choose one"),
        TransportError::Platform { .. } => input("choose one of these with `--platform`"),
        TransportError::Unsupported { .. } => {
            diagnosis(Kind::CommandLine, "run `ekiben containerize --help` to see the destinations")
        }
        TransportError::Blob { .. } if file_system(error).hint.is_some() => file_system(error),
        TransportError::DigestMismatch { .. } | TransportError::Blob { .. } => {
            surroundings("the bytes changed on their way or on disk: fetch or build them again")
        }
        TransportError::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
        _ => return None,
    })
}

fn store(error: &store::Error) -> Diagnosis {
    use store::Error as E;
    match error {
        E::NotFound { kind, .. } | E::NameNotFound { kind, .. } | E::NameNotListed { kind, .. } => {
            let list = if kind.directory() == "models" { "ekiben models list" } else { "ekiben list" };
            input(&format!("run `{list}` to see what is stored"))
        }
        E::Ambiguous { .. } => input("type more of the version"),
        E::AlreadyExists { .. } => input("choose another version, or leave it out to get a fresh one"),
        E::Copy(CopyError::Dangling { .. } | CopyError::Loop { .. } | CopyError::Special { .. }) => {
            input("mend it, or take it out of the directory")
        }
        E::NoItemFile { .. }
        | E::NotAFile { .. }
        | E::TooLong { .. }
        | E::Parse { .. }
        | E::MissingField { .. }
        | E::BadField { .. }
        | E::BadName { .. } => input("the item is damaged: remove its directory, and store it again"),
        _ => file_system(error),
    }
}

fn registry(error: &RegistryError) -> Diagnosis {
    use RegistryError as E;
    match error {
        E::Unreachable { registry, .. } => {
            surroundings(&format!("check the name and port of `{registry}`, and the network"))
        }
        E::Tls { .. } => {
            surroundings("add the registry's certificate authority to the file that `SSL_CERT_FILE` names")
        }
        E::Unauthorized { registry, .. } | E::Token { registry, .. } => {
            surroundings(&format!("run `docker login {registry}`, or check what the account may do"))
        }
        E::NotFound { .. } => input("check the repository and the tag"),
        E::CredentialsFile { .. } | E::CredentialsSyntax { .. } | E::Helper { .. } => {
            input("mend the Docker configuration, or log in again with `docker login`")
        }
        E::DigestMismatch { .. } | E::SizeMismatch { .. } => surroundings(
            "the registry, or something between it and here, gives other bytes than their digest says: try another mirror, or push the image again",
        ),
        E::TooManyRequests { .. } => surroundings("wait a little, or log in for a higher limit"),
        E::Cache { .. } => file_system(error),
        _ => surroundings("try again; if it stays so, it is the registry's matter"),
    }
}

fn engine(error: &EngineError) -> Diagnosis {
    match error {
        EngineError::NotFound { .. } => surroundings(
            "start Docker, name its socket with `DOCKER_HOST`, or write a file with `--to oci-archive:FILE`",
        ),
        EngineError::Address { .. } => input("`DOCKER_HOST` takes `unix:///PATH` or `tcp://HOST:PORT`"),
        _ => surroundings("the engine's own log says more"),
    }
}

fn debian(error: &debian::Error) -> Diagnosis {
    use debian::Error as E;
    match error {
        E::Platform { .. } => input("choose a base image with `--base`"),
        E::UnknownSuite { .. } => {
            input("suites with a Python of their own are `bullseye`, `bookworm` and `trixie`")
        }
        E::UnknownPackage { .. } | E::PackageName { .. } | E::Unsatisfiable { .. } => {
            input("mend `docker.system_packages` in the bentofile, and build again")
        }
        E::Unreachable { .. } | E::Status { .. } => {
            surroundings("check the network and the mirrors in `/etc/apt`")
        }
        E::Signature { .. } | E::Expired { .. } | E::Keyring { .. } => {
            surroundings("check the mirror and the clock, and update the package `debian-archive-keyring`")
        }
        E::Gone { .. } => surroundings(
            "take the packages of today with `ekiben containerize --refresh`, or add a mirror that still has these to `/etc/apt`",
        ),
        E::IndexMismatch { .. } | E::PackageMismatch { .. } => surroundings(
            "the mirror is inconsistent or being updated: try again with `--refresh`, or use another",
        ),
        E::File { .. } => file_system(error),
        E::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
        _ => surroundings("try again with `--refresh`"),
    }
}

fn python(error: &pydeps::Error) -> Diagnosis {
    use pydeps::Error as E;
    match error {
        E::NoPython | E::NoUv { .. } => {
            surroundings("install Python 3 with pip, or put `uv` on the search path")
        }
        E::RequirementsFile { .. } => {
            named_file(error, "make the file, or mend its path; paths start at the file that names it")
        }
        E::Requirement { .. } | E::Editable { .. } | E::OptionValue { .. } | E::RequirementsCycle { .. } => {
            input("mend the requirement at that place")
        }
        E::Index { .. } => {
            input("write the index as a URL with its scheme, such as `https://pypi.org/simple`")
        }
        E::Resolve { .. } => input("mend `python.packages` or the requirements file"),
        E::NoWheel { .. } | E::LockedWithoutWheel { .. } => {
            input("choose a version that has wheels, or build on the image's own platform")
        }
        E::Authentication { .. } => surroundings(
            "give the index's credentials in `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`, or in `~/.netrc`",
        ),
        E::Unreachable { .. } => surroundings("check the network, and the index options in the bentofile"),
        E::HashMismatch { .. } => {
            surroundings("the index serves other bytes than those that were locked: build again to lock anew")
        }
        E::File { .. } => file_system(error),
        E::Interrupted => diagnosis(Kind::Interrupted, ""),
        E::Uv { .. } | E::NotInstalled { .. } | E::Compile { .. } | E::Interpreter { .. } => surroundings(""),
        _ => input("mend the `python` section of the bentofile"),
    }
}

fn resolve(error: &ResolveError) -> Diagnosis {
    match error {
        ResolveError::NoPython { wanted, .. } => input(&format!(
            "choose a base that has Python {wanted} with `--base` or `docker.base_image`, or another `docker.python_version`"
        )),
        ResolveError::Musl { .. } => {
            input("choose a base with glibc, such as `debian:bookworm` or `python:3.11-slim`")
        }
        ResolveError::BadServer { .. } => surroundings(
            "put a static `ekiben-serve-ARCHITECTURE` for that platform beside `ekiben`, or choose another `--platform`",
        ),
        ResolveError::NoServer { .. } => {
            surroundings("install `ekiben-serve` beside `ekiben`: `cargo build --release` makes both")
        }
        ResolveError::Base { source, .. } => {
            chain(source).find_map(explain).unwrap_or_else(|| file_system(error))
        }
        ResolveError::File(_) => file_system(error),
    }
}

fn command() -> Diagnosis {
    input(
        "ekiben runs nothing inside images: take the command out, or put its result into a base image and name it with `docker.base_image`",
    )
}

/// A file that the user named: that it is not there, or is something else, is the user's matter.
fn named_file(error: &(dyn Error + 'static), hint: &str) -> Diagnosis {
    use io::ErrorKind as K;
    if chain(error).any(<dyn Error>::is::<NotUtf8>) {
        return input(SAVE_AS_UTF8);
    }
    let mut kinds = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let is_users = |kind| {
        matches!(
            kind,
            K::NotFound | K::NotADirectory | K::IsADirectory | K::InvalidInput | K::InvalidFilename
        )
    };
    if kinds.any(is_users) { input(hint) } else { file_system(error) }
}

/// What the system said, where that has an obvious remedy.
fn file_system(error: &(dyn Error + 'static)) -> Diagnosis {
    let kinds = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let hints = kinds.filter_map(|kind| match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room on the disk; `EKIBEN_CACHE_DIR` and `BENTOML_HOME` can point to another one")
        }
        io::ErrorKind::PermissionDenied => Some("check who owns it and may write to it"),
        io::ErrorKind::ReadOnlyFilesystem => Some("name a directory on a disk that can be written to"),
        _ => None,
    });
    surroundings(hints.last().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_matter_of_the_surroundings() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = FsError { action: "write", path: "a".into(), source: full() };
        let error = ContainerizeError::File(error);
        let diagnosis = diagnose(&error);
        assert_eq!(diagnosis.kind, Kind::Surroundings);
        let text = text(&error, &diagnosis);
        assert!(text.starts_with("error: cannot write `a`\n  caused by: "), "{text}");
        assert!(text.contains("\nhint: make room"), "{text}");
    }

    #[test]
    fn an_interrupt_counts_wherever_it_is() {
        let error = io::Error::other(Interrupted);
        let error = TransportError::File { action: "write", path: "a".into(), source: error };
        assert_eq!(diagnose(&error).kind.status(), 130);
    }
}
