//! Python packages from the real registry, through uv: the packages of a scikit-learn service.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ekiben::pydeps::{
    Architecture, Compiler, Distribution, Host, InstallRequest, Interpreter, LockRequest, LockedEnv,
    PINNED_UV, PrunePolicy, PythonVersion, Requirements, Target, Uv, compile_stdlib, install, lock,
};

use crate::pydeps_support::{host, tree_of};

const PYTHON: PythonVersion = PythonVersion::new(3, 11);
const TARGET: Target = Target::new(PYTHON, Architecture::Amd64);

/// What the iris service needs.
const PACKAGES: [&str; 5] = ["scikit-learn", "numpy", "pydantic", "PyYAML", "cloudpickle"];

/// Imports much, trains, predicts.
const SERVICE: &str = "import sklearn.ensemble, sklearn.datasets, pydantic, yaml, cloudpickle
import scipy.stats, scipy.optimize, scipy.sparse, scipy.io, numpy.linalg, numpy.random, numpy.testing
X, y = sklearn.datasets.load_iris(return_X_y=True)
print(int(sklearn.ensemble.RandomForestClassifier(random_state=0).fit(X, y).predict(X[:1])[0]))";

fn locked(packages: &[&str], target: Target, host: &Host, directory: &Path) -> LockedEnv {
    let mut requirements = Requirements::default();
    let lines: Vec<String> = packages.iter().map(|line| (*line).to_owned()).collect();
    requirements.add_lines(&lines, directory, &|index| format!("line {index}")).unwrap();
    lock(&LockRequest { requirements, target, directory: directory.to_owned(), upgrade: false }, host)
        .unwrap()
}

/// Puts the trees together, as they are in an image.
fn environment(distributions: &[Distribution], root: &Path) {
    for distribution in distributions {
        for entry in walkdir::WalkDir::new(&distribution.root) {
            let entry = entry.unwrap();
            let place = root.join(entry.path().strip_prefix(&distribution.root).unwrap());
            if entry.file_type().is_dir() {
                fs::create_dir_all(place).unwrap();
            } else {
                fs::copy(entry.path(), place).unwrap();
            }
        }
    }
}

#[test]
fn scikit_learn_installs_small_and_works() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let begun = Instant::now();
    let env = locked(&PACKAGES, TARGET, &host, directory.path());
    let lock_cold = begun.elapsed();
    let begun = Instant::now();
    assert_eq!(locked(&PACKAGES, TARGET, &host, directory.path()), env);
    let lock_warm = begun.elapsed();
    let request = InstallRequest::new(TARGET);
    let begun = Instant::now();
    let installed = install(&env, &request, &host).unwrap();
    let install_cold = begun.elapsed();
    assert_eq!((installed.warnings.len(), installed.made), (0, env.packages.len()));
    let begun = Instant::now();
    let again = install(&env, &request, &host).unwrap();
    let install_warm = begun.elapsed();
    assert_eq!((again.made, &again.distributions), (0, &installed.distributions));
    let size: u64 = installed.distributions.iter().map(|distribution| distribution.size).sum();
    println!(
        "lock {lock_cold:?}, again {lock_warm:?}; install {install_cold:?}, again {install_warm:?}; {size} bytes"
    );
    assert!(size < 215_000_000, "{size}");

    let root = directory.path().join("venv");
    environment(&installed.distributions, &root);
    let python = Interpreter::find(PYTHON, &host).unwrap().expect("python3.11");
    let mut command = Command::new(python.program());
    let packages = root.join("lib/python3.11/site-packages");
    let output = command.args(["-S", "-c", SERVICE]).env("PYTHONPATH", packages).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{output:?}");
}

#[test]
fn trees_do_not_depend_on_company_or_place() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (host_one, host_two) = (host(one.path()), host(&two.path().join("another/place")));
    let packages = ["joblib==1.4.2", "typing-extensions==4.12.2", "PyYAML==6.0.2"];
    let env = locked(&packages, TARGET, &host_one, one.path());
    let together = install(&env, &InstallRequest::new(TARGET), &host_one).unwrap();
    for (package, expected) in env.packages.iter().zip(&together.distributions) {
        let alone = LockedEnv { packages: vec![package.clone()] };
        let alone = install(&alone, &InstallRequest::new(TARGET), &host_two).unwrap();
        assert_eq!(alone.distributions[0].fingerprint, expected.fingerprint, "{}", package.name);
        assert_eq!(tree_of(&alone.distributions[0].root), tree_of(&expected.root), "{}", package.name);
    }
    let kept = InstallRequest { prune: PrunePolicy::Keep, ..InstallRequest::new(TARGET) };
    let kept = install(&env, &kept, &host_one).unwrap();
    let joblib = (&together.distributions[0], &kept.distributions[0]);
    let pruned: usize = joblib.0.pruned.iter().map(|pruned| pruned.files).sum();
    assert!(pruned > 0 && joblib.1.pruned.is_empty());
    assert_eq!(joblib.0.file_count + pruned, joblib.1.file_count);
}

#[test]
fn another_platform_and_python_get_their_own_wheels() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let target = Target::new(PythonVersion::new(3, 12), Architecture::Arm64);
    let env = locked(&["PyYAML==6.0.2"], target, &host, directory.path());
    assert!(env.packages[0].wheel.contains("cp312") && env.packages[0].wheel.contains("aarch64"), "{env:?}");
    let request = InstallRequest { compiler: Compiler::Skip, ..InstallRequest::new(target) };
    let installed = install(&env, &request, &host).unwrap();
    let extension = "lib/python3.12/site-packages/yaml/_yaml.cpython-312-aarch64-linux-gnu.so";
    assert!(installed.distributions[0].root.join(extension).is_file());
}

#[test]
fn uv_is_installed_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = host(directory.path());
    let bin = directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let python = Interpreter::find(PYTHON, &host).unwrap().expect("python3.11");
    // A script: an interpreter that is linked to does not find its library.
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.program().display());
    fs::write(bin.join("python3"), script).unwrap();
    fs::set_permissions(bin.join("python3"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    host.environment.insert("PATH".into(), bin.into());
    let uv = Uv::obtain(&host).unwrap();
    assert!(uv.program().starts_with(&host.cache_dir), "{uv:?}");
    assert_eq!(uv.version(), PINNED_UV);
    assert_eq!(Uv::obtain(&host).unwrap(), uv);
}

#[test]
fn a_standard_library_is_compiled_for_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let library = directory.path().join("root/usr/lib/python3.11");
    for (path, text) in
        [("a.py", "x = 1"), ("test/b.py", ""), ("lib2to3/c.py", ""), ("d/e.py", ""), ("d/bad.py", "(")]
    {
        fs::create_dir_all(library.join(path).parent().unwrap()).unwrap();
        fs::write(library.join(path), text).unwrap();
    }
    let python = Interpreter::find(PYTHON, &host).unwrap().expect("python3.11");
    let compiled = compile_stdlib(&directory.path().join("root"), PYTHON, &python, &host).unwrap();
    let (a, e) = ("__pycache__/a.cpython-311.pyc", "d/__pycache__/e.cpython-311.pyc");
    assert_eq!(compiled.files, [a, e].map(|path| format!("usr/lib/python3.11/{path}")));
    let bytes = fs::read(library.join(a)).unwrap();
    assert!(bytes.windows(23).any(|window| window == b"/usr/lib/python3.11/a.p"), "{bytes:?}");
    assert!(!String::from_utf8_lossy(&bytes).contains("root/usr"));
}
