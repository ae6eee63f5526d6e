//! Chromium without a window, driven over a pipe by the `DevTools` protocol. It can reach loopback and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peers;

/// Switches these tests off, for machines that cannot have the program.
const SWITCH: &str = "EKIBEN_TEST_WITHOUT_BROWSER";

/// A browser starts a dozen processes, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at a page that is not there yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The browser expects messages at descriptor 3 and writes its own to descriptor 4.
const WITH_PIPES: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1 </dev/null";

/// Without a sandbox, because that wants a user other than root; without what browsers do for themselves on networks.
const OPTIONS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
];

/// A browser with one page; it ends with its handle.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    /// The page's.
    session: Option<String>,
    last: u64,
    requests: Vec<String>,
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser; nothing when these tests are switched off.
    pub(crate) fn start() -> Option<Self> {
        if peers::is_switched_off(SWITCH) {
            return None;
        }
        let profile = tempfile::tempdir().expect("a temporary directory can be made");
        let home = profile.path().display();
        let mut child = Command::new("/bin/sh")
            .args(["-c", WITH_PIPES])
            .arg(peers::system("chromium"))
            .args(OPTIONS)
            .arg(format!("--user-data-dir={home}/profile"))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let to = child.stdin.take().expect("its input is piped");
        let mut from = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let parsed = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message));
                if parsed.is_err() || sender.send(parsed.unwrap_or_default()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            to,
            from: messages,
            session: None,
            last: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        browser.open_page();
        Some(browser)
    }

    fn open_page(&mut self) {
        let made = self.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", &attach);
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Sets the size of the page, and whether its user likes it dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// Goes to an address.
    pub(crate) fn go(&mut self, url: &str) {
        let gone = self.call("Page.navigate", &json!({ "url": url }));
        assert_eq!(gone.get("errorText"), None, "{gone}");
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", &wanted);
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}\n{answer:#}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.evaluate(expression) != json!(true) {
            if Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText");
                panic!("never: {expression}\nthe page:\n{text}\n{:?}", self.complaints);
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// The visible part of the page as a PNG.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let taken = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        STANDARD.decode(taken["data"].as_str().unwrap_or_default()).expect("a picture in base 64")
    }

    /// What the page asked for since the last look: method and address, in order.
    pub(crate) fn take_requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.requests)
    }

    /// What the browser said of errors in the page.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Sends a command and waits for its result; events are noted meanwhile.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser reads: is a library missing? Run `scripts/setup`");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut message = match self.from.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer within {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{method}: the browser ended; run `scripts/setup`, or set {SWITCH}=1")
                }
            };
            if message["id"] == self.last {
                assert_eq!(message.get("error"), None, "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let details = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let [method, url] = ["method", "url"].map(|key| details["request"][key].as_str());
                self.requests.push([method.unwrap_or_default(), url.unwrap_or_default()].join(" "));
            }
            Some("Network.webSocketCreated") => self.requests.push(format!("SOCKET {}", details["url"])),
            Some("Runtime.exceptionThrown") => self.complaints.push(details["exceptionDetails"].to_string()),
            // Answers of 400 and more are also such entries; who looks at pages sees them there.
            Some("Log.entryAdded") if details["entry"]["source"] != "network" => {
                self.complaints.push(details["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes end when nobody is at the other end of the pipe; this one is waited for.
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        let _ = self.to.write_all(&[close.as_bytes(), &[0]].concat());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
