//! A Docker Engine of the tests' own: on its own socket, with its own data, stopped when the last test lets go of it.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use super::command::{Command, Output};
use super::context::TestContext;
use super::peers;
use super::service::Service;
use super::web::Address;

/// The engine that tests of this process share while any of them holds it.
static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

/// Two engines would give the same addresses on the same bridge: one at a time on a machine.
const MACHINE_LOCK: &str = "ekiben-test-engine.lock";

/// A network from which nothing outside of the machine can be reached.
const ISOLATED: &str = "isolated";

/// The port that services listen on in a container.
const PORT: u16 = 3000;

/// A running engine.
pub(crate) struct Engine {
    // Stopped before its directory is removed, and the lock is given back last. In a mutex to be shared by threads.
    service: Mutex<Option<Service>>,
    directory: TempDir,
    _lock: File,
}

impl Engine {
    /// The engine of this process, started if no other test has it.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return engine;
        }
        let engine = Arc::new(Self::start());
        *shared = Arc::downgrade(&engine);
        engine
    }

    fn start() -> Self {
        let path = std::path::Path::new("/tmp").join(MACHINE_LOCK);
        let lock = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        lock.lock().expect("another engine ends some time");
        // Short: the path of a socket has at most 107 bytes.
        let directory =
            tempfile::Builder::new().prefix("ekiben-engine-").tempdir_in("/tmp").expect("a directory");
        let place = |name: &str| directory.path().join(name);
        let context = TestContext::new();
        let mut service = Service::start(
            &context
                .command(&peers::system("dockerd"))
                .arg("--host")
                .arg(format!("unix://{}", place("docker.sock").display()))
                .arg("--data-root")
                .arg(place("data"))
                .arg("--exec-root")
                .arg(place("exec"))
                .arg("--pidfile")
                .arg(place("pid"))
                .directory(directory.path()),
        );
        service.line_with("API listen on");
        let engine = Self { service: Mutex::new(Some(service)), directory, _lock: lock };
        let created = engine.docker(["network", "create", "--internal", ISOLATED]);
        assert!(!created.stdout.is_empty(), "an engine names the network it made");
        engine
    }

    /// What `DOCKER_HOST` is for programs that are to find this engine.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }

    /// Debian's client, with those arguments, run to its end.
    pub(crate) fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Output {
        self.client().args(arguments).any_stderr().run()
    }

    fn client(&self) -> Command {
        let environment =
            [("DOCKER_HOST".into(), self.host().into()), ("HOME".into(), "/nonexistent".into())];
        Command::new(&peers::system("docker"), self.directory.path(), &environment.into_iter().collect())
    }

    /// Loads an image from an archive.
    pub(crate) fn load(&self, archive: &Path) {
        let archive = archive.to_str().expect("paths of tests are UTF-8");
        let loaded = self.docker(["load", "--input", archive]).stdout;
        assert!(loaded.contains("Loaded image"), "{loaded}");
    }

    /// Runs a container that cannot reach anything outside of the machine.
    pub(crate) fn run_isolated(self: &Arc<Self>, options: &[&str], image: &str) -> Container {
        let arguments = ["run", "--detach", "--network", ISOLATED].into_iter().chain(options.iter().copied());
        let id = self.docker(arguments.chain([image])).stdout.trim().to_owned();
        Container { engine: Arc::clone(self), id }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let service = self.service.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(service) = service {
            let (status, output) = service.stop();
            if !status.success() && !std::thread::panicking() {
                panic!("the engine ended with {status}:\n{output}");
            }
        }
    }
}

/// A container, removed with its handle.
pub(crate) struct Container {
    engine: Arc<Engine>,
    id: String,
}

impl Container {
    /// Where the service in the container listens.
    pub(crate) fn address(&self) -> Address {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let text = self.engine.docker(["inspect", "--format", format, &self.id]).stdout;
        let ip: IpAddr =
            text.trim().parse().unwrap_or_else(|error| panic!("`{text}`: {error}\n{}", self.logs()));
        Address::from((ip, PORT))
    }

    /// Asks the container to stop, as an orchestrator does, and returns its exit status.
    pub(crate) fn stop(&self) -> String {
        assert_eq!(self.engine.docker(["stop", "--time", "60", &self.id]).stdout.trim(), self.id);
        self.engine.docker(["inspect", "--format", "{{.State.ExitCode}}", &self.id]).stdout.trim().to_owned()
    }

    /// Runs a program inside and returns what it printed.
    pub(crate) fn exec(&self, arguments: &[&str]) -> String {
        self.engine.docker(["exec", &self.id].into_iter().chain(arguments.iter().copied())).stdout
    }

    /// Everything the container wrote.
    pub(crate) fn logs(&self) -> String {
        let output = self.engine.docker(["logs", &self.id]);
        output.stdout + &output.stderr
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(
                !self.engine.docker(["rm", "--force", &self.id]).stdout.is_empty(),
                "the container was there"
            );
        }
    }
}

/// A registry of the Debian package docker-registry, on loopback.
pub(crate) struct DockerRegistry {
    _service: Service,
    address: String,
    directory: TempDir,
}

impl DockerRegistry {
    /// Lets everybody in.
    pub(crate) fn open() -> Self {
        Self::start("")
    }

    /// Lets in who knows the password of the user `somebody`, which nobody does.
    pub(crate) fn closed() -> Self {
        Self::start("auth:\n  htpasswd:\n    realm: tests\n    path: htpasswd\n")
    }

    fn start(more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("ekiben-registry-").tempdir().expect("a directory");
        let storage = directory.path().join("storage");
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{more}",
            storage.display()
        );
        fs::write(directory.path().join("config.yml"), config).expect("a file in a new directory");
        // A bcrypt hash of bytes that were thrown away.
        let users = "somebody:$2y$05$abcdefghijklmnopqrstuuJzVn0pQn3C0m2Xk0pZ0Z0Z0Z0Z0Z0Z0\n";
        fs::write(directory.path().join("htpasswd"), users).expect("a file in a new directory");
        let context = TestContext::new();
        let serve = context.command(&peers::system("docker-registry")).args(["serve", "config.yml"]);
        let mut service = Service::start(&serve.directory(directory.path()));
        let line = service.line_with("listening on ");
        let after = line.split_once("listening on ").expect("the line was found by this").1;
        let end = after.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(after.len());
        Self { address: after[..end].to_owned(), _service: service, directory }
    }

    /// `127.0.0.1:PORT`, the registry's part of a reference.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Changes a byte of every stored blob that is larger than any manifest.
    pub(crate) fn spoil_layers(&self) {
        const LARGER_THAN_MANIFESTS: u64 = 1 << 20;
        let mut spoiled = 0;
        for entry in walkdir::WalkDir::new(self.directory.path().join("storage")) {
            let entry = entry.expect("the storage can be walked");
            let size = entry.metadata().expect("the file is there").len();
            if entry.file_type().is_file() && size > LARGER_THAN_MANIFESTS {
                let mut bytes = fs::read(entry.path()).expect("a blob can be read");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(entry.path(), bytes).expect("a blob can be written");
                spoiled += 1;
            }
        }
        assert!(spoiled > 0, "the registry has no layer");
    }
}
