//! A headless Chromium, driven through its DevTools protocol.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// Nothing that is waited for takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// One at a time: each is a dozen processes.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with a profile of its own. Ends when it is dropped.
pub(crate) struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    next: u64,
    /// What the pages complained about: errors of scripts, and what the content policy stopped.
    complaints: Vec<String>,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A page in it.
#[derive(Clone)]
pub(crate) struct Tab(String);

impl Browser {
    pub(crate) fn start() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().unwrap();
        let spawned = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"])
            .args(["--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("chromium does not start ({error}); install it: apt-get install -y --no-install-recommends chromium")
        });
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url = said.find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
        let url = url.expect("chromium ended before it listened");
        // It goes on talking, and must not have to wait for a reader.
        std::thread::spawn(move || said.for_each(drop));
        let addr = url.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        Self { child, socket, next: 0, complaints: Vec::new(), _profile: profile, _turn: turn }
    }

    fn call(&mut self, tab: Option<&Tab>, method: &str, params: Value) -> Result<Value, String> {
        self.next += 1;
        let id = self.next;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(Tab(session)) = tab {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("no answer to {method}: {error}"));
            let Message::Text(text) = message else { continue };
            let mut message: Value = serde_json::from_str(text.as_str()).unwrap();
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(message["result"].take()),
                };
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }

    /// What the pages complained about since it was asked last.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    pub(crate) fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({ "url": "about:blank" })).unwrap();
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach).unwrap();
        let tab = Tab(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            self.call(Some(&tab), domain, json!({})).unwrap();
        }
        // A page in the background would be slowed down.
        self.call(Some(&tab), "Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).unwrap();
        self.look(&tab, 1100, 760, "light");
        self.call(Some(&tab), "Page.navigate", json!({ "url": url })).unwrap();
        tab
    }

    /// A chat's page, once it knows what there is.
    pub(crate) fn chat(&mut self, url: &str) -> Tab {
        let tab = self.open(url);
        self.wait(&tab, "document.getElementById('my-link').value");
        tab
    }

    /// Pastes a link and connects.
    pub(crate) fn dial(&mut self, tab: &Tab, link: &str) {
        self.click(tab, "#link");
        self.enter(tab, link);
        self.press(tab, "Enter");
        // The answer moves the focus.
        self.wait(tab, "document.activeElement.id === 'text'");
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, tab: &Tab, text: &str) {
        self.click(tab, "#text");
        self.enter(tab, text);
        self.press(tab, "Enter");
    }

    /// The size of the page and its colour scheme.
    pub(crate) fn look(&mut self, tab: &Tab, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", size).unwrap();
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call(Some(tab), "Emulation.setEmulatedMedia", media).unwrap();
    }

    /// The value of an expression; a promise is waited for.
    pub(crate) fn eval(&mut self, tab: &Tab, expression: &str) -> Value {
        self.try_eval(tab, expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_eval(&mut self, tab: &Tab, expression: &str) -> Result<Value, String> {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call(Some(tab), "Runtime.evaluate", params)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until the expression is true, looking after each change of the page.
    pub(crate) fn wait(&mut self, tab: &Tab, condition: &str) {
        let script = format!(
            "new Promise((done) => {{
                const holds = () => {{ try {{ return !!({condition}); }} catch {{ return false; }} }};
                const end = (held) => {{ watcher.disconnect(); clearTimeout(late); clearInterval(often); done(held); }};
                const look = () => {{ if (holds()) end(true); }};
                const watcher = new MutationObserver(look);
                watcher.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
                const late = setTimeout(() => end(false), {});
                const often = setInterval(look, 100);
                look();
            }})",
            PATIENCE.as_millis()
        );
        // A page that is only now being loaded takes its scripts with it.
        let held = (0..5).find_map(|_| self.try_eval(tab, &script).ok());
        if held != Some(json!(true)) {
            let shown = self.try_eval(tab, "document.body.innerText");
            let folder = std::env::temp_dir().join("burdock-chat-failed.png");
            self.save(tab, folder.clone());
            panic!("never came: {condition}\nthe page (see {}): {shown:?}\n{:?}", folder.display(), self.complaints);
        }
    }

    /// Waits until an element has this text in it.
    pub(crate) fn see(&mut self, tab: &Tab, selector: &str, text: &str) {
        let condition = format!(
            "[...document.querySelectorAll({selector:?})].some((e) => e.checkVisibility() && e.textContent.includes({text:?}))"
        );
        self.wait(tab, &condition);
    }

    pub(crate) fn text(&mut self, tab: &Tab, selector: &str) -> String {
        let value = self.eval(tab, &format!("document.querySelector({selector:?}).innerText"));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks the element, where a mouse would.
    pub(crate) fn click(&mut self, tab: &Tab, selector: &str) {
        self.wait(tab, &format!("document.querySelector({selector:?}).checkVisibility()"));
        let at = self.eval(
            tab,
            &format!(
                "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'nearest' }});
                    const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
            ),
        );
        for kind in ["mousePressed", "mouseReleased"] {
            let press = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call(Some(tab), "Input.dispatchMouseEvent", press).unwrap();
        }
    }

    /// Presses a key by its name.
    pub(crate) fn press(&mut self, tab: &Tab, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Space" => (32, " "),
            other => panic!("no key {other}"),
        };
        let name = if key == "Space" { " " } else { key };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": name, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call(Some(tab), "Input.dispatchKeyEvent", event).unwrap();
        }
    }

    /// Types into whatever has the focus.
    pub(crate) fn enter(&mut self, tab: &Tab, text: &str) {
        self.call(Some(tab), "Input.insertText", json!({ "text": text })).unwrap();
    }

    /// A picture of the page, if `BURDOCK_SCREENSHOTS` names a folder.
    pub(crate) fn picture(&mut self, tab: &Tab, name: &str) {
        if let Some(folder) = std::env::var_os("BURDOCK_SCREENSHOTS") {
            std::fs::create_dir_all(&folder).unwrap();
            self.save(tab, PathBuf::from(folder).join(format!("{name}.png")));
        }
    }

    fn save(&mut self, tab: &Tab, path: PathBuf) {
        let shot = self.call(Some(tab), "Page.captureScreenshot", json!({ "format": "png" })).unwrap();
        std::fs::write(path, BASE64.decode(shot["data"].as_str().unwrap().as_bytes()).unwrap()).unwrap();
    }

    /// A picture of each look: light, dark, and on a narrow screen. Each must be readable and fit.
    pub(crate) fn pictures(&mut self, tab: &Tab, name: &str) {
        for (suffix, width, height, scheme) in
            [("light", 1100, 760, "light"), ("dark", 1100, 760, "dark"), ("narrow", 360, 740, "light")]
        {
            self.look(tab, width, height, scheme);
            self.check(tab, &format!("{name}-{suffix}"));
            self.picture(tab, &format!("{name}-{suffix}"));
        }
        self.look(tab, 1100, 760, "light");
    }

    /// Nothing is wider than the screen, every text has the contrast of WCAG 2.2 AA (§1.4.3), and whatever can be
    /// operated has a name (§4.1.2).
    fn check(&mut self, tab: &Tab, name: &str) {
        let faults = self.eval(tab, include_str!("check.js"));
        assert_eq!(faults, json!([]), "{name}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
