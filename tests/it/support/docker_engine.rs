//! Docker Engine. Root gets one of its own, in a network namespace of its own: its networks reach nothing outside of it
//! and are gone with it. Others use the one that answers on this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ekiben::engine::{Engine, EngineSettings};
use tempfile::TempDir;

use super::command::Command;
use super::peers;
use super::service::Service;

/// Switches these tests off, for machines that cannot have the program.
const SWITCH: &str = "EKIBEN_TEST_WITHOUT_ENGINE";
/// Where the engine finds containerd and runc.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the program that follows, where `localhost` can be reached.
const IN_NAMESPACE: &str = "ip link set lo up && exec \"$0\" \"$@\"";

/// The engine that the tests of this process share; it ends with the last of them.
static SHARED: Mutex<Weak<DockerEngine>> = Mutex::new(Weak::new());

/// A running engine.
pub(crate) struct DockerEngine {
    /// The engine that was started, if it was.
    service: Mutex<Option<Service>>,
    is_own: bool,
    directory: TempDir,
}

impl DockerEngine {
    /// The engine; nothing when these tests are switched off.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        if peers::is_switched_off(SWITCH) {
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shared.upgrade().unwrap_or_else(|| {
            let engine = Arc::new(Self::start());
            *shared = Arc::downgrade(&engine);
            engine
        }))
    }

    fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let program = peers::system("dockerd");
        if !rustix::process::geteuid().is_root() {
            return Self { service: Mutex::default(), is_own: false, directory };
        }
        let path = |name: &str| directory.path().join(name).display().to_string();
        let environment = BTreeMap::from([(OsString::from("PATH"), OsString::from(PATH))]);
        let unshare = Command::new(&peers::system("unshare"), directory.path(), &environment);
        let command = unshare.args(["--net", "sh", "-c", IN_NAMESPACE]).arg(program).args([
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("run"),
            "--pidfile",
            &path("pid"),
            "--host",
            &format!("unix://{}", path("docker.sock")),
        ]);
        let mut service = Service::start(&command);
        service.line_with("API listen on");
        Self { service: Mutex::new(Some(service)), is_own: true, directory }
    }

    /// What `DOCKER_HOST` would say.
    pub(crate) fn host(&self) -> String {
        if self.is_own {
            format!("unix://{}/docker.sock", self.directory.path().display())
        } else {
            "unix:///var/run/docker.sock".to_owned()
        }
    }

    /// The network namespace that containers' addresses and published ports are in.
    pub(crate) fn network(&self) -> String {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let process = service.as_ref().map_or_else(|| "self".to_owned(), |service| service.pid().to_string());
        format!("/proc/{process}/ns/net")
    }

    /// Connects as ekiben does.
    pub(crate) async fn connect(&self) -> Engine {
        let settings = EngineSettings { host: Some(self.host()), runtime_directory: None };
        Engine::connect(&settings)
            .await
            .unwrap_or_else(|error| panic!("{error}: run `scripts/setup`, or set {SWITCH}=1"))
    }

    /// Docker's own command line.
    pub(crate) fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let host = BTreeMap::from([(OsString::from("DOCKER_HOST"), OsString::from(self.host()))]);
        let command = Command::new(&peers::system("docker"), self.directory.path(), &host);
        command.args(arguments).any_stderr().run().stdout.trim().to_owned()
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        let service = self.service.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = service.take() {
            // Asked to, it stops its containerd too.
            let _ = service.stop();
            // Left mounted by the engine; what remains goes with the directory.
            let mount = self.directory.path().join("run/netns/default");
            let _ = std::process::Command::new("umount").arg(mount).output();
        }
    }
}
