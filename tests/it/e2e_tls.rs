//! TLS of the front, with certificates that OpenSSL makes and curl as the client.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::json;

use crate::support::command::Command;
use crate::support::peers::system;
use crate::support::serve::{Plan, Server, read_reply, request};

/// Makes an authority, and what it signs: the server's pair, and a client's.
fn certificates(plan: &Plan) {
    let directory = plan.path();
    write(&directory, "server.cnf", "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n");
    write(&directory, "client.cnf", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n");
    openssl(
        &directory,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=ca -keyout ca.key -out ca.pem",
    );
    for name in ["server", "client"] {
        openssl(
            &directory,
            &format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        );
        openssl(
            &directory,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile {name}.cnf -out {name}.pem"
            ),
        );
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

fn openssl(directory: &Path, arguments: &str) {
    let command = Command::new(&system("openssl"), directory, &BTreeMap::new());
    let _ = command.args(arguments.split_whitespace()).any_stderr().run();
}

/// A server in whose directory the certificates are.
fn plan() -> Plan {
    let plan = Plan::fake("ok");
    certificates(&plan);
    plan
}

/// The status that curl sees, or its own exit status.
fn curl(server: &Server, path: &str, options: &[&str]) -> Result<String, i32> {
    let url = format!("https://localhost:{}{path}", server.port());
    let shown = [
        "-sS",
        "-o",
        "answer",
        "-w",
        "%{http_code} %{ssl_verify_result} %{scheme}",
        "--max-time",
        "20",
        "-4",
    ];
    let ended = std::process::Command::new(system("curl"))
        .args(shown)
        .args(options)
        .arg(url)
        .env_clear()
        .current_dir(server.directory())
        .output()
        .unwrap();
    match ended.status.code() {
        Some(0) => Ok(String::from_utf8(ended.stdout).unwrap()),
        code => Err(code.unwrap_or(-1)),
    }
}

fn wait_ready(server: &Server, options: &[&str]) {
    server.wait_for("readiness", || {
        curl(server, "/readyz", options).is_ok_and(|shown| shown.starts_with("200 "))
    });
}

const CA: [&str; 2] = ["--cacert", "ca.pem"];
const SERVER: [&str; 4] = ["--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key"];

#[test]
fn a_protected_port_is_trusted_by_its_authority_alone() {
    let server = plan().arguments(&SERVER).start();
    assert!(server.log().contains("listening on https://localhost:"), "{}", server.log());
    wait_ready(&server, &CA);
    let body = ["--cacert", "ca.pem", "-d", r#"{"a": 1}"#, "-H", "content-type: application/json"];
    assert_eq!(curl(&server, "/echo", &body).as_deref(), Ok("200 0 HTTPS"));
    assert_eq!(std::fs::read_to_string(server.directory().join("answer")).unwrap(), r#"{"a": 1}"#);
    server.wait_for("log line", || server.log().contains("(scheme=https,method=POST,path=/echo,"));
    // curl says 60 when it does not know the authority.
    assert_eq!(curl(&server, "/livez", &[]), Err(60));
    for version in [["--tlsv1.2", "--tls-max"], ["--tlsv1.3", "--tls-max"]] {
        let [least, most] = version;
        let number = least.trim_start_matches("--tlsv");
        assert_eq!(
            curl(&server, "/livez", &["--cacert", "ca.pem", least, most, number]).as_deref(),
            Ok("200 0 HTTPS")
        );
    }
    // Large bodies and streams pass too.
    let large = "x".repeat(6 << 20);
    write(server.directory(), "large", &large);
    let sent = ["--cacert", "ca.pem", "--data-binary", "@large", "-H", "expect:"];
    assert_eq!(curl(&server, "/echo", &sent).as_deref(), Ok("200 0 HTTPS"));
    assert!(std::fs::read_to_string(server.directory().join("answer")).unwrap() == large);
    assert_eq!(curl(&server, "/stream", &["--cacert", "ca.pem", "-X", "POST"]).as_deref(), Ok("200 0 HTTPS"));
    let _ended = server.stop(rustix::process::Signal::TERM).succeeded();
}

#[test]
fn those_who_do_not_speak_tls_get_nothing() {
    let server = plan().arguments(&SERVER).arguments(&["--verbose"]).start();
    wait_ready(&server, &CA);
    let mut stream = server.connect();
    stream.write_all(&request("GET", "/livez", &[], b"")).unwrap();
    let mut answer = Vec::new();
    // An alert, or the end of the connection.
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/"), "{answer:?}");
    server.wait_for("log line", || server.log().contains("cannot agree on keys with 127.0.0.1:"));
    // One that says nothing at all holds nobody up.
    let _silent: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    assert_eq!(curl(&server, "/livez", &CA).as_deref(), Ok("200 0 HTTPS"));
}

#[test]
fn clients_show_their_certificates_when_asked() {
    let plan = plan().arguments(&SERVER).arguments(&["--ssl-ca-certs", "ca.pem", "--ssl-cert-reqs", "2"]);
    let server = plan.start();
    let known = ["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key"];
    wait_ready(&server, &known);
    assert_eq!(curl(&server, "/livez", &known).as_deref(), Ok("200 0 HTTPS"));
    assert!(curl(&server, "/livez", &CA).is_err());
    openssl(
        server.directory(),
        "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=other -keyout other.key -out other.pem",
    );
    let stranger = ["--cacert", "ca.pem", "--cert", "other.pem", "--key", "other.key"];
    assert!(curl(&server, "/livez", &stranger).is_err());
}

#[test]
fn clients_may_show_their_certificates() {
    let plan = plan().arguments(&SERVER).arguments(&["--ssl-ca-certs", "ca.pem", "--ssl-cert-reqs", "1"]);
    let server = plan.start();
    wait_ready(&server, &CA);
    let known = ["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key"];
    assert_eq!(curl(&server, "/livez", &known).as_deref(), Ok("200 0 HTTPS"));
}

#[test]
fn keys_may_be_encrypted_and_in_the_file_of_the_certificate() {
    let plan = plan();
    let directory = plan.path();
    openssl(&directory, "pkcs8 -topk8 -v2 aes-256-cbc -in server.key -passout pass:geheim -out locked.key");
    let both =
        ["server.pem", "locked.key"].map(|name| std::fs::read_to_string(directory.join(name)).unwrap());
    write(&directory, "both.pem", &both.concat());
    let overrides =
        json!({"services": {"ssl": {"enabled": true, "certfile": "both.pem", "keyfile_password": "${KEY}"}}});
    let server = plan.env("BENTOML_CONFIG_OVERRIDES", &overrides.to_string()).env("KEY", "geheim").start();
    wait_ready(&server, &CA);
}

#[test]
fn a_service_may_say_that_it_has_tls() {
    let config = json!({"ssl": {"enabled": true, "certfile": "server.pem", "keyfile": "server.key", "version": 5,
        "ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}});
    let server = plan().config(&config).start();
    // Until the service is described, nothing says that the port is protected.
    let mut early = BufReader::new(server.connect());
    wait_ready(&server, &CA);
    assert_eq!(curl(&server, "/livez", &["--cacert", "ca.pem", "--tlsv1.3"]), Err(35));
    early.get_mut().write_all(&request("POST", "/echo", &[], b"{}")).unwrap();
    if let Some(reply) = read_reply(&mut early, false) {
        assert!([400, 503].contains(&reply.status), "{reply:?}");
    }
}

#[test]
fn what_is_wrong_with_certificates_is_said_at_the_start() {
    let refused = |options: &[&str]| {
        let plan = plan();
        let directory = plan.path();
        openssl(
            &directory,
            "pkcs8 -topk8 -v2 aes-256-cbc -in server.key -passout pass:geheim -out locked.key",
        );
        openssl(&directory, "rsa -aes256 -traditional -in server.key -passout pass:geheim -out old.key");
        plan.arguments(&["--port", "0"]).arguments(options).run().failed(1)
    };
    let start = "Error: [serve] `serve` failed: ";
    for (options, reason) in [
        (
            &["--ssl-certfile", "nowhere.pem"][..],
            "cannot read `nowhere.pem` for TLS: No such file or directory",
        ),
        (&["--ssl-certfile", "server.key"], "`server.key` has no certificate"),
        (&["--ssl-certfile", "server.pem"], "`server.pem` has no private key"),
        (
            &["--ssl-certfile", "server.pem", "--ssl-keyfile", "client.key"],
            "the private key in `client.key` is not the one of the certificate in `server.pem`",
        ),
        (
            &["--ssl-certfile", "server.pem", "--ssl-keyfile", "locked.key"],
            "the private key in `locked.key` is encrypted: give its password",
        ),
        (
            &[
                "--ssl-certfile",
                "server.pem",
                "--ssl-keyfile",
                "locked.key",
                "--ssl-keyfile-password",
                "falsch",
            ],
            "the password does not open the private key in `locked.key`",
        ),
        (
            &["--ssl-certfile", "server.pem", "--ssl-keyfile", "old.key", "--ssl-keyfile-password", "geheim"],
            "the private key in `old.key` is encrypted in an old way: convert it with `openssl pkcs8",
        ),
        (
            &["--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key", "--ssl-cert-reqs", "2"],
            "invalid configuration: `ssl.ca_certs` must be set",
        ),
        (
            &["--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key", "--ssl-ciphers", "RC4-SHA"],
            "`ssl.ciphers` has `RC4-SHA`, which is none of ECDHE-ECDSA-AES128-GCM-SHA256, ",
        ),
        (
            &["--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key", "--ssl-version", "3"],
            "`ssl.version` is not supported as configured: SSL and TLS before 1.2 are broken",
        ),
    ] {
        let message = refused(options);
        assert!(message.starts_with(&format!("{start}{reason}")), "{message}");
        assert!(!message.contains("geheim") && !message.contains("falsch"), "{message}");
    }
}

#[test]
fn spans_go_to_collectors_whose_authority_is_known() {
    // The other server takes anything at `/echo`, and says in its log what it got.
    let collector = plan().arguments(&SERVER).start();
    wait_ready(&collector, &CA);
    let traced = |authority: Option<&str>| {
        let endpoint = format!("https://localhost:{}/echo", collector.port());
        let otlp = json!({"protocol": "http", "endpoint": endpoint, "http": {"certificate_file": authority}});
        let tracing = json!({"exporter_type": "otlp", "sample_rate": 1.0, "otlp": otlp});
        let server = Plan::fake("ok").config(&json!({ "tracing": tracing })).start_ready();
        assert_eq!(server.post("/echo", "{}").status, 200);
        server.stop(rustix::process::Signal::TERM).succeeded().stdout
    };
    let authority = collector.directory().join("ca.pem");
    let log = traced(authority.to_str());
    assert!(!log.contains("spans were lost"), "{log}");
    let got = "(scheme=https,method=POST,path=/echo,type=application/x-protobuf,";
    collector.wait_for("the spans", || collector.log().contains(got));
    let log = traced(None);
    assert!(log.contains("spans were lost: cannot connect to `https://localhost:"), "{log}");
    assert!(log.contains("UnknownIssuer"), "{log}");
}
