//! Every bad input gives an error that names the file, line or object and the next step, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::Written;
use crate::support::iris::IRIS;
use crate::support::peers;

/// The input is at fault.
const INPUT: i32 = 1;
/// The command line is at fault.
const USAGE: i32 = 2;
/// The network, a registry or the disk is at fault.
const SURROUNDINGS: i32 = 3;

/// Everything below a directory, as relative paths.
fn files(directory: &Path) -> Vec<String> {
    let mut files: Vec<String> = walkdir::WalkDir::new(directory)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| {
            entry.path().strip_prefix(directory).expect("the walk started there").display().to_string()
        })
        .collect();
    files.sort();
    files
}

/// Runs a command that must fail, with `hint:` and the given parts on stderr, and leave every file as it was.
fn assert_refused(context: &TestContext, command: Command, status: i32, parts: &[&str]) {
    let places = [context.bentoml_home(), context.temporary(), context.work()];
    let before: Vec<_> = places.iter().map(|place| files(place)).collect();
    let command = parts.iter().fold(command.status(status), |command, part| command.stderr(part));
    let output = command.stderr("error: ").stderr("hint: ").run();
    assert!(!output.stdout.contains("Successfully"), "{}", output.stdout);
    let after: Vec<_> = places.iter().map(|place| files(place)).collect();
    assert_eq!(after, before, "a refused command leaves nothing behind");
}

/// Writes a project with that bentofile and a service that needs no model, and builds it.
fn build(context: &TestContext, bentofile: &str, service: &str) -> Command {
    fs::write(context.work().join("bentofile.yaml"), bentofile).expect("the directory is there");
    fs::write(context.work().join("service.py"), service).expect("the directory is there");
    context.ekiben(["build", "."])
}

const SERVICE: &str = "import bentoml\n\n\n@bentoml.service\nclass Plain:\n    @bentoml.api\n    def echo(self, text: str) -> str:\n        return text\n";

#[test]
fn an_unknown_key_is_named_with_its_place_and_what_was_meant() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\nlables:\n  a: b\n", SERVICE);
    assert_refused(&context, command, INPUT, &["bentofile.yaml:2", "unknown key `lables`", "`labels`"]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_place() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\npython:\n  packages: 3\n", SERVICE);
    assert_refused(&context, command, INPUT, &["bentofile.yaml:3", "`python.packages`"]);
}

#[test]
fn a_file_that_the_bentofile_names_and_that_is_not_there_is_named_with_its_place() {
    let context = TestContext::with_shared_cache();
    for (bentofile, place) in [
        (
            "service: service:Plain\npython:\n  requirements_txt: gone.txt\n",
            "3:21: `python.requirements_txt`",
        ),
        ("service: service:Plain\ndescription: \"file: gone.md\"\n", "2:14: `description`"),
        ("service: service:Plain\ndocker:\n  setup_script: gone.sh\n", "3:17: `docker.setup_script`"),
        ("service: service:Plain\ndocker:\n  env: gone.env\n", "3:8: `docker.env`"),
    ] {
        let place = format!("bentofile.yaml:{place} names the file `gone.");
        let command = build(&context, bentofile, SERVICE);
        assert_refused(&context, command, INPUT, &[&place, "No such file", "paths start at the project"]);
    }
    fs::create_dir(context.work().join("folder")).expect("it is not there yet");
    let command = build(&context, "service: service:Plain\ndocker: {setup_script: folder}\n", SERVICE);
    assert_refused(
        &context,
        command,
        INPUT,
        &["bentofile.yaml:2:24", "`docker.setup_script`", "it is not a file"],
    );
}

#[test]
fn a_requirements_file_that_another_names_is_named_with_the_line_that_does() {
    let context = TestContext::with_shared_cache();
    let bentofile = "service: service:Plain\npython: {requirements_txt: top.txt}\n";
    for (top, line) in [("six\n\n-r gone.txt\n", 3), ("-c gone.txt\n", 1)] {
        fs::write(context.work().join("top.txt"), top).expect("the directory is there");
        let place = format!("top.txt:{line}: cannot read requirements file `");
        let command = build(&context, bentofile, SERVICE);
        assert_refused(&context, command, INPUT, &[&place, "gone.txt`", "No such file"]);
    }
}

#[test]
fn a_requirement_that_cannot_be_used_is_named_with_its_place() {
    let context = TestContext::with_shared_cache();
    for (package, reason) in [
        ("numpy=>1", "no such comparison operator"),
        ("numpy scipy", "Expected one of"),
        ("./gone-1.0-py3-none-any.whl", "there is no such file or directory"),
        ("gone @ ./gone-1.0-py3-none-any.whl", "there is no such file or directory"),
        ("[numpy]", "Unexpected '['"),
    ] {
        let bentofile =
            format!("service: service:Plain\npython:\n  packages:\n    - six\n    - \"{package}\"\n");
        let command = build(&context, &bentofile, SERVICE);
        let place = "bentofile.yaml:5:7: `python.packages[1]`: cannot use the requirement `";
        assert_refused(&context, command, INPUT, &[place, package, reason]);
    }
    fs::write(context.work().join("top.txt"), "# why\nsix\nnumpy=>1\n").expect("the directory is there");
    let command = build(&context, "service: service:Plain\npython: {requirements_txt: top.txt}\n", SERVICE);
    assert_refused(&context, command, INPUT, &["top.txt:3: cannot use the requirement `numpy=>1`"]);
}

#[test]
fn an_index_without_a_scheme_is_named_with_its_place() {
    let context = TestContext::with_shared_cache();
    let command = build(
        &context,
        "service: service:Plain\npython:\n  index_url: me:hunter2@pypi.example/simple\n",
        SERVICE,
    );
    let parts = ["bentofile.yaml:3:14", "`****@pypi.example/simple`", "`python.index_url`", "https://"];
    assert_refused(&context, command, INPUT, &parts);
    let command = build(
        &context,
        "service: service:Plain\npython:\n  extra_index_url: [\"https://a/b\", b]\n",
        SERVICE,
    );
    assert_refused(&context, command, INPUT, &["bentofile.yaml:3:36", "`python.extra_index_url[1]`"]);
    fs::write(context.work().join("top.txt"), "six\n-i pypi.example\n").expect("the directory is there");
    let command = build(&context, "service: service:Plain\npython: {requirements_txt: top.txt}\n", SERVICE);
    assert_refused(&context, command, INPUT, &["top.txt:2: `pypi.example` is not a package index"]);
}

#[test]
fn a_file_of_arguments_that_is_not_there_is_named() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\n", SERVICE).args(["--arg-file", "gone.yaml"]);
    assert_refused(&context, command, INPUT, &["`gone.yaml`", "No such file", "--arg-file PATH"]);
    let command = context.ekiben(["build", ".", "--bentofile", "gone.yaml"]);
    assert_refused(&context, command, INPUT, &["gone.yaml", "--bentofile PATH"]);
}

#[test]
fn text_in_another_encoding_is_named_with_its_place() {
    let context = TestContext::with_shared_cache();
    let work = context.work();
    let write = |name: &str, bytes: &[u8]| fs::write(work.join(name), bytes).expect("the directory is there");
    let refused = |place: &str| {
        let command = context.ekiben(["build", "."]);
        assert_refused(&context, command, INPUT, &[place, "0xe9", "UTF-8", "save the file as UTF-8"]);
    };
    write("bentofile.yaml", b"service: service:Plain\nname: caf\xe9\n");
    write("service.py", SERVICE.as_bytes());
    refused("bentofile.yaml:2:10: ");
    write("bentofile.yaml", b"service: service:Plain\npython: {requirements_txt: r.txt}\n");
    write("r.txt", b"six\n# caf\xe9\n");
    refused("line 2: ");
    write("bentofile.yaml", b"service: service:Plain\n");
    write("service.py", b"import bentoml\n# caf\xe9\n");
    refused("service.py:2:6: ");
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    let context = TestContext::with_shared_cache();
    let work = context.work();
    let bentofile =
        "service: service:Plain\nname: plain\npython:\n  lock_packages: false\n  requirements_txt: r.txt\n";
    for (name, text) in [("bentofile.yaml", bentofile), ("service.py", SERVICE), ("r.txt", "six\n")] {
        fs::write(work.join(name), format!("\u{feff}{text}")).expect("the directory is there");
    }
    assert!(context.ekiben(["build", ".", "--version", "v1"]).run().stdout.contains("plain:v1"));
    let bento = context.bentoml_home().join("bentos/plain/v1");
    let wanted = fs::read_to_string(bento.join("env/python/requirements.in")).expect("a bento has one");
    assert!(wanted.lines().any(|line| line == "six"), "{wanted}");
}

#[test]
fn a_service_that_is_not_there_is_named_where_the_bentofile_names_it() {
    let context = TestContext::with_shared_cache();
    let two = format!("{SERVICE}\n\n@bentoml.service\nclass Other:\n    pass\n");
    for (service, reason) in [
        ("service:Nope", "no `Nope` in the module `service`, its services are Plain, Other"),
        ("service", "has several services, name one: service:Plain, service:Other"),
        ("gone:Plain", "no module `gone` in the project: expected `gone.py`"),
        ("a b", "`a b` does not name a service"),
    ] {
        let command = build(&context, &format!("name: x\nservice: \"{service}\"\n"), &two);
        assert_refused(
            &context,
            command,
            INPUT,
            &["bentofile.yaml:2:10: `service`: ", reason, "module:Class"],
        );
        if !service.contains(' ') {
            // Named on the command line, it is written nowhere.
            let output = context.ekiben(["build", service]).status(INPUT).stderr(reason).run();
            assert!(!output.stderr.contains("at that place"), "{}", output.stderr);
        }
    }
    let command = build(&context, "service: service:Plain\nconda:\n  channels: [x]\n", SERVICE);
    assert_refused(&context, command, INPUT, &["bentofile.yaml:3:3: `conda` is not supported yet"]);
}

#[test]
fn variables_as_a_map_are_refused_with_the_form_of_a_list() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\nenvs:\n  A: x\n", SERVICE);
    let example =
        "`envs` must be a list with a name and a value for each, such as `- {name: KEY, value: text}`";
    assert_refused(&context, command, INPUT, &["bentofile.yaml:3:3", example, "not a map"]);
}

#[test]
fn a_tab_is_named_where_it_stands() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\npython:\n  packages:\n  - a\n\t- b\n", SERVICE);
    assert_refused(&context, command, INPUT, &["bentofile.yaml:5:1: ", "a tab in the indentation"]);
}

#[test]
fn what_containerize_will_refuse_is_said_by_build_with_its_place() {
    let context = TestContext::with_shared_cache();
    fs::write(context.work().join("setup.sh"), "make all\n").expect("the directory is there");
    for (version, docker, place, reason) in [
        ("v1", "setup_script: setup.sh", "4:17: `docker.setup_script`", "runs nothing inside images"),
        ("v2", "distro: alpine", "4:11: `docker.distro`", "on Debian only, not on `alpine`"),
        (
            "v3",
            "system_packages: [ffmpeg, Bad Name]",
            "4:29: `docker.system_packages[1]`",
            "`Bad Name` cannot be",
        ),
    ] {
        let bentofile = format!(
            "service: service:Plain\nname: plain\ndocker:\n  {docker}\npython: {{lock_packages: false}}\n"
        );
        let command = build(&context, &bentofile, SERVICE).args(["--version", version]);
        let output = command
            .stderr(&format!("WARNING: bentofile.yaml:{place}: "))
            .stderr(reason)
            .stderr("`ekiben containerize` will refuse the bento: ")
            .run();
        assert!(output.stdout.contains("Successfully built"), "{}", output.stdout);
        let command = context.ekiben(["containerize", &format!("plain:{version}"), "--to", "oci:layout"]);
        assert_refused(&context, command, INPUT, &["needs the command `"]);
    }
}

#[test]
fn a_link_to_a_directory_is_left_out_with_a_warning() {
    let context = TestContext::with_shared_cache();
    fs::create_dir(context.work().join("real")).expect("the directory is there");
    fs::write(context.work().join("real/part.py"), "").expect("the directory is there");
    symlink("real", context.work().join("alias")).expect("it is new");
    let bentofile = "service: service:Plain\nname: plain\npython: {lock_packages: false}\n";
    let command = build(&context, bentofile, SERVICE).args(["--version", "v1"]);
    let output = command.stderr("WARNING: `alias` is left out: it is a link to a directory").run();
    assert!(output.stdout.contains("Successfully built"), "{}", output.stdout);
    // As the original does, which says nothing.
    let copied = context.bentoml(["build", ".", "--version", "v2"]).any_stderr().run();
    assert!(copied.stdout.contains("Successfully built"), "{}", copied.stdout);
    let sources =
        |version: &str| files(&context.bentoml_home().join("bentos/plain").join(version).join("src"));
    assert_eq!(sources("v1"), ["bentofile.yaml", "real/part.py", "service.py"]);
    assert_eq!(sources("v2"), sources("v1"));
}

#[test]
fn capitals_in_names_are_lowered_with_a_warning() {
    let context = TestContext::with_shared_cache();
    let files = context.work().join("files");
    fs::create_dir(&files).expect("the directory is there");
    fs::write(files.join("weights"), "1").expect("the directory is there");
    let lowered = |old: &str| format!("WARNING: Converting '{old}' to lowercase: '{}'.", old.to_lowercase());
    let create = context.ekiben(["models", "create", "Iris:V1", "--from", "files"]);
    assert!(create.stderr(&lowered("Iris:V1")).run().stdout.contains("iris:v1"));
    let bentofile =
        "service: service:Plain\nname: Plain\nmodels: [\"Iris:v1\"]\npython: {lock_packages: false}\n";
    let command = build(&context, bentofile, SERVICE).args(["--version", "B1"]);
    let command = command.stderr(&lowered("Plain")).stderr(&lowered("Iris:v1")).stderr(&lowered("B1"));
    assert!(command.run().stdout.contains("plain:b1"));
    let got = context.ekiben(["get", "Plain:b1", "-o", "path"]).stderr(&lowered("Plain:b1")).run();
    assert!(got.stdout.contains("plain/b1"), "{}", got.stdout);
}

#[test]
fn a_damaged_bento_and_an_absent_interpreter_end_serving_at_once() {
    let context = TestContext::with_shared_cache();
    let bentofile = "service: service:Plain\nname: plain\npython: {lock_packages: false}\n";
    let built = build(&context, bentofile, SERVICE).args(["--version", "v1"]).run();
    assert!(built.stdout.contains("plain:v1"), "{}", built.stdout);
    let python = ["serve", "plain:v1", "--port", "0", "--python", "/nonexistent/python"];
    let output = context
        .ekiben(python)
        .status(INPUT)
        .stderr("error: cannot run the Python interpreter `/nonexistent/python`")
        .stderr("hint: name a Python that has the service's packages with `--python PATH`")
        .run();
    assert_eq!(output.stdout.matches("cannot run the Python interpreter").count(), 1, "{}", output.stdout);

    let bento = context.bentoml_home().join("bentos/plain/v1");
    for (description, reason) in [("a: [", "bento.yaml"), ("name: plain\n", "bento.yaml"), ("", "bento.yaml")]
    {
        fs::write(bento.join("bento.yaml"), description).expect("the bento is there");
        let path = bento.display().to_string();
        for target in ["plain:v1", &path] {
            let command = context.ekiben(["serve", target, "--port", "0"]);
            assert_refused(&context, command, INPUT, &[reason, "damaged"]);
        }
    }
}

#[test]
fn rules_that_leave_the_service_out_are_refused() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\ninclude: [\"*.txt\"]\n", SERVICE);
    assert_refused(&context, command, INPUT, &["leaves out `service.py`", "`include`"]);
}

#[test]
fn passwords_reach_neither_the_bento_nor_an_error() {
    let context = TestContext::with_shared_cache();
    let bentofile = "service: service:Plain\nname: plain\npython:\n  lock_packages: false\n  \
        extra_index_url: https://user:hunter2@127.0.0.1:9/simple\n  \
        packages: [\"attrs @ https://user:hunter2@127.0.0.1:9/attrs.whl\"]\n";
    let built = build(&context, bentofile, SERVICE).arg("--version").arg("v1").run();
    assert!(!built.stdout.contains("hunter2"), "{}", built.stdout);
    let bento = context.bentoml_home().join("bentos/plain/v1");
    for path in files(&bento) {
        let bytes = fs::read(bento.join(&path)).expect("it was listed");
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"), "{path}");
    }
    for (option, name) in
        [("--to", "docker://u:hunter2@127.0.0.1:9/x"), ("--base", "https://u:hunter2@127.0.0.1:9/x")]
    {
        let command =
            context.ekiben(["containerize", "plain:v1", option, name]).status(2).stderr("****@127.0.0.1:9");
        let output = command.run();
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}

#[test]
fn deep_nesting_in_the_source_is_no_crash() {
    let context = TestContext::with_shared_cache();
    let service = format!("{SERVICE}\n\nDEEP = {}\n", vec!["1"; 20_000].join("+"));
    let command = build(&context, "service: service:Plain\nname: deep\n", &service);
    assert!(command.arg("--version").arg("v1").run().stdout.contains("deep:v1"));
}

#[test]
fn a_model_that_is_not_in_the_store_is_named_with_the_line_that_wants_it() {
    let context = TestContext::with_shared_cache();
    let service = "import bentoml\nfrom bentoml.models import BentoModel\n\n\n@bentoml.service\nclass Plain:\n    \
        model = BentoModel(\"absent:latest\")\n\n    @bentoml.api\n    def echo(self, text: str) -> str:\n        return text\n";
    let command = build(&context, "service: service:Plain\n", service);
    assert_refused(&context, command, INPUT, &["service.py:7", "`absent:latest`", "ekiben models list"]);
}

#[test]
fn a_model_of_the_bentofile_that_is_not_in_the_store_is_named() {
    let context = TestContext::with_shared_cache();
    let command = build(&context, "service: service:Plain\nmodels:\n  - absent:v1\n", SERVICE);
    assert_refused(&context, command, INPUT, &["`absent:v1`", "ekiben models list"]);
}

#[test]
fn a_link_or_pipe_that_no_model_can_have_is_named_and_leaves_no_model() {
    let context = TestContext::new();
    let files = context.work().join("files");
    fs::create_dir_all(files.join("deep")).expect("the directory is there");
    fs::write(files.join("a"), "first, so that something was copied").expect("the directory is there");
    let create = |tag: &str| context.ekiben(["models", "create", tag, "--from", "files"]);
    assert!(create("other:v1").run().stdout.contains("other:v1"));
    let place = files.join("deep/x");
    let link = |target: &str| symlink(target, &place).expect("it is new");
    let pipe = || {
        let made = context.command(&peers::system("mkfifo")).args(["files/deep/x"]).run();
        assert_eq!(made.stdout, "");
    };
    let makers: [(&dyn Fn(), &str); 4] = [
        (&|| link("gone"), "it is a link to `gone`, which is not there"),
        (&|| link("../deep"), "it is a link that leads back to where it is"),
        (&|| link("x"), "it is a link that leads back to where it is"),
        (&pipe, "it is a pipe, not a file or directory"),
    ];
    for (make, reason) in makers {
        make();
        let parts = ["`files/deep/x`", reason, "take it out of the directory"];
        assert_refused(&context, create("other:v2"), INPUT, &parts);
        assert!(!context.bentoml_home().join("models/other/v2").exists());
        fs::remove_file(&place).expect("it was made");
    }
}

#[test]
fn a_bento_that_is_not_in_the_store_is_named() {
    let context = TestContext::with_shared_cache();
    let command = context.ekiben(["containerize", "absent:v1", "--to", "oci:layout"]);
    assert_refused(&context, command, INPUT, &["'absent:v1'", "ekiben list"]);
}

#[test]
fn a_model_that_was_deleted_after_the_build_is_named() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    fs::remove_dir_all(context.bentoml_home().join("models/iris_clf")).expect("the model is there");
    let command = context.ekiben(["containerize", IRIS, "--to", "oci:layout"]);
    assert_refused(&context, command, INPUT, &["iris_clf", IRIS]);
}

#[test]
fn a_base_without_the_wanted_python_says_what_it_has() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let command = context.ekiben(["containerize", IRIS, "--base", "debian:trixie", "--to", "oci:layout"]);
    assert_refused(&context, command, INPUT, &["`debian:trixie`", "Python 3.11", "Python 3.13"]);
}

#[test]
fn a_registry_that_does_not_answer_is_named() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    // Port 1 (tcpmux) is served by nobody, and loopback refuses at once.
    let command = context.ekiben([
        "containerize",
        IRIS,
        "--base",
        "docker://127.0.0.1:1/python:3.11",
        "--to",
        "oci:layout",
    ]);
    assert_refused(&context, command, SURROUNDINGS, &["127.0.0.1:1"]);
    let command = context.ekiben(["containerize", IRIS, "--to", "docker://127.0.0.1:1/iris:v1"]);
    assert_refused(&context, command, SURROUNDINGS, &["127.0.0.1:1"]);
}

#[test]
fn a_registry_that_lets_nobody_in_is_named_with_what_to_do() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let Some(registry) = DockerRegistry::secure() else { return };
    let to = format!("docker://{}/iris:v1", registry.host());
    for arguments in [&["--to", &to][..], &["--base", &to, "--to", "oci:layout"]] {
        let command = context.ekiben(["containerize", IRIS].into_iter().chain(arguments.iter().copied()));
        let command = command.env("SSL_CERT_FILE", registry.certificate());
        assert_refused(&context, command, SURROUNDINGS, &[registry.host(), "401"]);
    }
}

#[test]
fn a_blob_of_a_registry_that_is_not_what_its_digest_says_is_named() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let Some(registry) = DockerRegistry::plain() else { return };
    let image = format!("docker://{}/iris:v1", registry.host());
    assert!(
        Written::by(context.ekiben(["containerize", IRIS, "--to", &image])).digest.starts_with("sha256:")
    );
    registry.spoil_layers();
    // One that has none of the blobs yet.
    let own_cache = context.own_cache();
    let command = context.ekiben(["containerize", IRIS, "--base", &image, "--to", "oci:layout"]);
    assert_refused(
        &context,
        command.env("EKIBEN_CACHE_DIR", &own_cache),
        SURROUNDINGS,
        &[registry.host(), "is said to be `sha256:", "try another mirror"],
    );
}

#[test]
fn a_destination_that_cannot_be_written_to_is_named_before_any_work() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let work = context.work();
    fs::create_dir_all(work.join("folder")).expect("the directory is there");
    fs::write(work.join("folder/thesis.tex"), "").expect("the directory is there");
    for (destination, status, reason) in [
        ("oci-archive:folder", INPUT, "`folder` is a directory, not a file"),
        ("docker-archive:folder/", INPUT, "`folder/` is a directory, not a file"),
        ("oci-archive:folder/thesis.tex/iris.tar", INPUT, "thesis.tex` is no directory"),
        ("oci:folder/thesis.tex", INPUT, "`folder/thesis.tex` is no directory"),
        ("oci:folder", INPUT, "`folder` is neither empty nor an image layout"),
        ("oci-archive:/dev/null", INPUT, "`/dev/null` is a device or pipe"),
        ("oci-archive:/proc/iris.tar", INPUT, "`oci-archive:/proc/iris.tar` cannot be written to"),
        ("scratch", USAGE, "it is a base only"),
        ("debian:bookworm", USAGE, "it is a base only"),
    ] {
        // An own, empty cache: had the work begun, it would take long, and say so.
        let command = context.ekiben(["containerize", IRIS, "--to", destination]);
        let command = command.env("EKIBEN_CACHE_DIR", context.own_cache());
        assert_refused(&context, command, status, &[reason]);
        assert!(!context.own_cache().exists(), "{destination}");
    }
    // In a mount namespace of its own: nothing to unmount, whatever happens.
    let script =
        "mount -t tmpfs -o ro tmpfs folder; exec ekiben containerize \"$1\" --to oci-archive:folder/x.tar";
    let arguments = ["--map-root-user", "--mount", "sh", "-c", script, "sh", IRIS];
    let command = context.command(&peers::system("unshare")).args(arguments);
    assert_refused(&context, command, SURROUNDINGS, &["folder/x.tar` cannot be written to", "ead-only"]);
}

#[test]
fn a_base_that_is_no_archive_is_named() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let work = context.work();
    fs::write(work.join("text.tar"), "no tar".repeat(1000)).expect("the directory is there");
    fs::write(work.join("empty.tar"), "").expect("the directory is there");
    fs::write(work.join("image.tar.gz"), b"\x1f\x8b\x08\0").expect("the directory is there");
    fs::create_dir(work.join("folder")).expect("the directory is there");
    for (file, reason) in [
        ("text.tar", "it is not a tar"),
        ("empty.tar", "it is not a tar"),
        ("image.tar.gz", "it is compressed"),
        ("folder", "it is not a file"),
    ] {
        for scheme in ["docker-archive", "oci-archive"] {
            let base = format!("{scheme}:{file}");
            let command = context.ekiben(["containerize", IRIS, "--base", &base, "--to", "oci:layout"]);
            let named = format!("`{file}` cannot be read as an archive of images");
            assert_refused(&context, command, INPUT, &[&named, reason]);
        }
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_no_half_an_archive() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let small = context.work().join("small");
    fs::create_dir(&small).expect("the directory is there");
    // In a mount namespace of its own: nothing to unmount, whatever happens.
    let script =
        "mount -t tmpfs -o size=8m tmpfs small; ekiben \"$@\"; status=$?; ls -A small >left; exit $status";
    for destination in ["oci-archive:small/iris.tar", "docker-archive:small/iris.tar", "oci:small/layout"] {
        let output = context
            .command(&peers::system("unshare"))
            .args([
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
                "containerize",
                IRIS,
                "--to",
                destination,
            ])
            .status(SURROUNDINGS)
            .stderr("error: ")
            .stderr("small/")
            .stderr("No space left on device")
            .stderr("hint: ")
            .run();
        assert!(!output.stdout.contains("Successfully"), "{}", output.stdout);
        let left = fs::read_to_string(context.work().join("left")).expect("the script wrote it");
        assert_eq!(left.trim(), "", "{destination}");
    }
}

/// Runs ekiben where `small`, in the working directory, is a disk of 8 MB.
fn on_a_small_disk(context: &TestContext, script: &str) -> Command {
    fs::create_dir(context.work().join("small")).expect("the directory is there");
    let script = format!("mount -t tmpfs -o size=8m tmpfs small; {script}");
    let unshare = context.command(&peers::system("unshare"));
    unshare.args(["--map-root-user", "--mount", "sh", "-c", &script])
}

#[test]
fn a_disk_that_debian_packages_fill_is_no_matter_of_the_network() {
    let with_own_bento = || {
        let context = TestContext::with_shared_cache();
        let _built = build(&context, "service: service:Plain\nname: plain\n", SERVICE)
            .arg("--version")
            .arg("v1")
            .run();
        context
    };
    for script in ["ekiben build . --version v2", "ekiben containerize plain:v1 --to oci:layout"] {
        let context = with_own_bento();
        let small = context.work().join("small");
        let command = on_a_small_disk(&context, script).env("EKIBEN_CACHE_DIR", &small);
        let command = command.stderr("No space left on device").stderr("hint: make room on the disk");
        let output = command.stderr("work/small/").status(SURROUNDINGS).run();
        assert!(!output.stdout.contains("Successfully"), "{script}: {}", output.stdout);
    }
}

#[test]
fn a_build_without_a_network_says_that_the_base_is_not_locked() {
    let context = TestContext::new();
    let bentofile = "service: service:Plain\nname: plain\npython:\n  lock_packages: false\n";
    fs::write(context.work().join("bentofile.yaml"), bentofile).expect("the directory is there");
    fs::write(context.work().join("service.py"), SERVICE).expect("the directory is there");
    let unshare = context.command(&peers::system("unshare"));
    let command = unshare.args([
        "--map-root-user",
        "--net",
        "ekiben",
        "build",
        ".",
        "--version",
        "v1",
        "--platform",
        "linux/arm64",
    ]);
    let command = command.stderr("the base `debian:bookworm` is not locked: cannot reach `http");
    let output = command.stderr("`containerize` will take the packages that it finds then").run();
    assert!(output.stdout.contains("Successfully built"), "{}", output.stdout);
    let lock = fs::read_to_string(context.bentoml_home().join("bentos/plain/v1/env/lock.json"));
    assert_eq!(lock.expect("every bento has one"), r#"{"format":1,"platform":"linux/arm64"}"#);
}

#[test]
fn a_base_that_is_not_there_is_named_as_a_path() {
    let context = TestContext::with_shared_cache();
    let _built =
        build(&context, "service: service:Plain\nname: plain\n", SERVICE).arg("--version").arg("v1").run();
    for (base, path) in [
        ("oci:absent", "`absent`"),
        ("oci-archive:absent.tar", "`absent.tar`"),
        ("docker-archive:absent.tar", "`absent.tar`"),
        ("oci:.", "`./index.json`"),
    ] {
        let command = context.ekiben(["containerize", "plain:v1", "--base", base, "--to", "oci:layout"]);
        assert_refused(&context, command, INPUT, &[&format!("{path} does not exist"), "check the path"]);
    }
}
