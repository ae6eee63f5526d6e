//! Servers on loopback that archives are sent to: real ones, and of Dropbox, which nobody publishes a server
//! for, one that checks the requests. Each stands for as long as its handle.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::command::Command;
use super::context::TestContext;
use super::peers::{Venv, program};
use super::service::Service;

/// Who logs in, where somebody has to. Such a password needs encoding in a URL, and must not be seen anywhere else.
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "p@ss-w0rd:Zq";
/// The same in a URL.
pub(crate) const ENCODED: &str = "p%40ss-w0rd%3AZq";

/// Amazon's protocol, with a bucket `models`; the keys are taken as they are.
const S3: &str = r#"
import boto3, threading, logging
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                      aws_access_key_id="id", aws_secret_access_key="key")
client.create_bucket(Bucket="models")
print("listening", port, flush=True)
threading.Event().wait()
"#;

/// With a directory for its certificate, it speaks TLS and nothing else.
const FTP: &str = r#"
import logging, pathlib, sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer
directory, user, password, *certificate = sys.argv[1:]
logging.disable(logging.CRITICAL)
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, directory, perm="elradfmwMT")
class Handler(TLS_FTPHandler if certificate else FTPHandler): pass
Handler.authorizer = authorizer
if certificate:
    import datetime, ipaddress
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256()))
    keys = pathlib.Path(certificate[0])
    pem = made.public_bytes(serialization.Encoding.PEM)
    (keys / "certificate.pem").write_bytes(pem)
    (keys / "both.pem").write_bytes(pem + key.private_bytes(serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    Handler.certfile = str(keys / "both.pem")
    Handler.tls_control_required = Handler.tls_data_required = True
server = FTPServer(("127.0.0.1", 0), Handler)
print("listening", server.address[1], flush=True)
server.serve_forever()
"#;

/// Serves a directory over SFTP, to whoever has the key that it writes beside; its own key goes to `known_hosts`.
const SFTP: &str = r#"
import asyncio, asyncssh, pathlib, sys
directory, keys = sys.argv[1], pathlib.Path(sys.argv[2])
async def main():
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client.write_private_key(keys / "id")
    (keys / "id").chmod(0o600)
    client.write_public_key(keys / "authorized")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=str(keys / "authorized"),
                                   sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=directory.encode()))
    port = server.get_port()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} " + host.export_public_key().decode())
    print("listening", port, flush=True)
    await server.wait_closed()
asyncio.run(main())
"#;

const WEBDAV: &str = r#"
import sys
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp
directory, user, password = sys.argv[1:]
application = WsgiDAVApp({"provider_mapping": {"/": directory}, "logging": {"enable": False}, "verbose": 0,
    "simple_dc": {"user_mapping": {"*": {user: {"password": password}}}},
    "http_authenticator": {"accept_digest": False, "default_to_digest": False}})
server = wsgi.Server(("127.0.0.1", 0), application)
server.prepare()
print("listening", server.bind_addr[1], flush=True)
server.serve()
"#;

/// Google's protocol, with a bucket `models`. The emulator knows no multipart uploads, which are added here as the
/// documentation of Google's XML API has them.
const GCS: &str = r#"
import hashlib, logging, re, socket
from http import HTTPStatus
import gcp_storage_emulator.server as emulator
from gcp_storage_emulator.handlers import objects
# The service leaves out what it has no value for; the emulator answers with null.
answer = emulator.Response.json
emulator.Response.json = lambda self, reply: answer(self, {key: value for key, value in reply.items() if value is not None})
logging.disable(logging.CRITICAL)
uploads = {}
def etag(content): return '"' + hashlib.md5(content).hexdigest() + '"'
def post(request, response, storage):
    place = (request.params["bucket_name"], request.params["object_id"])
    if request.full_url.endswith("?uploads"):
        upload = f"upload-{len(uploads) + 1}"
        uploads[upload] = (place, {})
        response["Content-type"] = "application/xml"
        response._content = (f"<InitiateMultipartUploadResult><Bucket>{place[0]}</Bucket><Key>{place[1]}</Key>"
                             f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        return
    known, parts = uploads[request.query["uploadId"][0]]
    text = request.data.decode().replace("&quot;", '"')
    named = [(int(re.search("<PartNumber>(.*?)<", part)[1]), re.search("<ETag>(.*?)<", part)[1])
             for part in re.findall("<Part>(.*?)</Part>", text)]
    sizes = [len(parts[number]) for number in sorted(parts)]
    if known != place or named != [(number, etag(parts[number])) for number in sorted(parts)] or min(sizes[:-1], default=9e9) < 5 << 20:
        response.status = HTTPStatus.BAD_REQUEST
        return
    content = b"".join(parts[number] for number in sorted(parts))
    made = objects._make_object_resource(request.base_url, *place, "application/octet-stream", str(len(content)))
    storage.create_file(*place, content, made)
    del uploads[request.query["uploadId"][0]]
    print("parts", *sizes, flush=True)
    response["Content-type"] = "application/xml"
    response._content = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
def put(request, response, storage):
    if "uploadId" not in request.query:
        return objects.xml_upload(request, response, storage)
    uploads[request.query["uploadId"][0]][1][int(request.query["partNumber"][0])] = request.data
    response["ETag"] = etag(request.data)
def delete(request, response, storage):
    del uploads[request.query["uploadId"][0]]
    response.status = HTTPStatus.NO_CONTENT
    print("aborted", flush=True)
emulator.HANDLERS[-1][1].update(POST=post, PUT=put, DELETE=delete)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="models")
server.start()
print("listening", port, flush=True)
import threading; threading.Event().wait()
"#;

/// As much of Dropbox's protocol as an upload and a download take, by its documentation; anything else is a 400.
const DROPBOX: &str = r#"
import http.server, json
files = {}
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def reply(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer s3cret-token":
            return self.reply(401, b'{"error_summary": "invalid_access_token/", "error": {".tag": "invalid_access_token"}}')
        argument = json.loads(self.headers["Dropbox-API-Arg"]) if "Dropbox-API-Arg" in self.headers else json.loads(body)
        path = argument["path"]
        meta = lambda: json.dumps({".tag": "file", "name": path.rpartition("/")[2], "path_display": path, "path_lower": path.lower(),
            "id": "id:1", "rev": "1", "size": len(files[path]), "content_hash": "0", "is_downloadable": True,
            "client_modified": "2026-01-01T00:00:00Z", "server_modified": "2026-01-01T00:00:00Z"}).encode()
        if self.path == "/2/files/upload" and self.headers["Content-Type"] == "application/octet-stream" and path.startswith("/"):
            files[path] = body
            return self.reply(200, meta())
        if self.path in ("/2/files/download", "/2/files/get_metadata") and path not in files:
            return self.reply(409, b'{"error_summary": "path/not_found/", "error": {".tag": "path", "path": {".tag": "not_found"}}}')
        if self.path == "/2/files/get_metadata":
            return self.reply(200, meta())
        if self.path == "/2/files/download":
            content, status, extra = files[path], 200, {}
            if "Range" in self.headers:
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                last = min(int(last or len(content)), len(content) - 1)
                extra = {"Content_Range": f"bytes {first}-{last}/{len(content)}"}
                content, status = content[int(first):last + 1], 206
            return self.reply(status, content, Dropbox_API_Result=meta().decode(), **extra)
        self.reply(400, b'{"error_summary": "unknown request", "error": {".tag": "other"}}')
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listening", server.server_port, flush=True)
server.serve_forever()
"#;

/// A server that runs, and the directory that it serves.
pub(crate) struct Storage {
    service: Service,
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
}

impl Storage {
    fn start(context: &TestContext, name: &str, script: &str, arguments: &[&str]) -> Self {
        let directory = context.work().join(name);
        fs::create_dir(&directory).expect("a new directory");
        let arguments = arguments.iter().map(|argument| match *argument {
            "DIRECTORY" => directory.display().to_string(),
            argument => argument.to_owned(),
        });
        let python = context.command(&program(Venv::Storage, "python")).arg("-c").arg(script).args(arguments);
        let mut service = Service::start(&python);
        let line = service.line_with("listening");
        let port = line.split_whitespace().last().and_then(|port| port.parse().ok());
        Self { service, port: port.expect("a port"), directory }
    }

    pub(crate) fn s3(context: &TestContext) -> Self {
        Self::start(context, "s3", S3, &[])
    }

    pub(crate) fn ftp(context: &TestContext) -> Self {
        Self::start(context, "ftp", FTP, &["DIRECTORY", USER, PASSWORD])
    }

    /// The server with TLS, and the file of its certificate.
    pub(crate) fn ftps(context: &TestContext) -> (Self, PathBuf) {
        let keys = context.work().join("keys");
        fs::create_dir(&keys).expect("a new directory");
        let arguments = ["DIRECTORY", USER, PASSWORD, &keys.display().to_string()];
        (Self::start(context, "ftps", FTP, &arguments), keys.join("certificate.pem"))
    }

    pub(crate) fn webdav(context: &TestContext) -> Self {
        Self::start(context, "webdav", WEBDAV, &["DIRECTORY", USER, PASSWORD])
    }

    pub(crate) fn gcs(context: &TestContext) -> Self {
        Self::start(context, "gcs", GCS, &[])
    }

    pub(crate) fn dropbox(context: &TestContext) -> Self {
        Self::start(context, "dropbox", DROPBOX, &[])
    }

    /// The server, and what makes a command reach it: an `ssh` that knows its key and nothing else of the machine.
    pub(crate) fn sftp(context: &TestContext) -> (Self, impl Fn(Command) -> Command) {
        let keys = context.work().join("keys");
        fs::create_dir(&keys).expect("a new directory");
        let storage = Self::start(context, "sftp", SFTP, &["DIRECTORY", &keys.display().to_string()]);
        let ssh = keys.join("ssh");
        let known = keys.join("known_hosts");
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -o UserKnownHostsFile={} \"$@\"\n",
            known.display()
        );
        fs::write(&ssh, script).expect("a new file");
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("its own file");
        let path = format!("{}:/usr/bin:/bin", keys.display());
        let reach = move |command: Command| command.env("PATH", &path).env("EKIBEN_SSH_KEY", keys.join("id"));
        (storage, reach)
    }

    /// The objects and the unfinished uploads in the bucket of S3, one list after the other.
    pub(crate) fn s3_remains(&self, context: &TestContext) -> String {
        let script = "import boto3, sys\n\
            client = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',\n\
            \x20                     aws_access_key_id='id', aws_secret_access_key='key')\n\
            objects = client.list_objects_v2(Bucket='models').get('Contents', [])\n\
            print(objects, client.list_multipart_uploads(Bucket='models').get('Uploads', []))";
        let url = format!("http://127.0.0.1:{}", self.port);
        context.command(&program(Venv::Storage, "python")).args(["-c", script]).arg(url).run().stdout
    }

    /// Waits until the server has printed a line with this.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        self.service.line_with(part)
    }

    /// A file in its directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }
}
