//! Headless Chromium over the DevTools protocol: enough to open a page, hear
//! its console and network, and move a real mouse.
#![allow(dead_code)]

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one page.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    next_id: u64,
    /// Events heard so far.
    pub events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// The browser's program, if this machine has one.
pub fn program() -> Option<PathBuf> {
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|p| p.is_file())
}

impl Browser {
    /// Starts the browser with a fresh profile and listens to a blank page.
    pub fn start(program: &Path) -> io::Result<Self> {
        let profile = tempfile::tempdir()?;
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-default-browser-check",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--hide-scrollbars",
                "--window-size=1280,900",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut guard = Guard(Some(child));
        let port = debugging_port(profile.path())?;
        let url = page_url(port)?;
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (socket, _) = tungstenite::client(url.as_str(), stream)
            .map_err(|e| io::Error::other(format!("the browser refused the connection: {e}")))?;
        let child = guard
            .0
            .take()
            .ok_or_else(|| io::Error::other("the browser is gone"))?;
        let mut browser = Self {
            child,
            socket,
            next_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        for domain in ["Page", "Runtime", "Network", "Log", "Security"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// One command; events heard meanwhile are kept.
    pub fn call(&mut self, method: &str, params: Value) -> io::Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let text = json!({"id": id, "method": method, "params": params}).to_string();
        self.socket
            .send(Message::text(text))
            .map_err(io::Error::other)?;
        loop {
            let message = self.read()?;
            if message["id"] == json!(id) {
                if message.get("error").is_some() {
                    return Err(io::Error::other(format!("{method}: {}", message["error"])));
                }
                return Ok(message["result"].clone());
            }
        }
    }

    fn read(&mut self) -> io::Result<Value> {
        loop {
            if let Message::Text(text) = self.socket.read().map_err(io::Error::other)? {
                let message: Value = serde_json::from_str(&text)?;
                if message.get("method").is_some() {
                    self.events.push(message.clone());
                }
                return Ok(message);
            }
        }
    }

    /// Opens a file and waits for its load event; returns how long it took.
    pub fn open(&mut self, path: &Path) -> io::Result<Duration> {
        self.open_url(&format!("file://{}", path.display()))
    }

    /// Opens an address and waits for its load event; returns how long it took.
    pub fn open_url(&mut self, url: &str) -> io::Result<Duration> {
        self.events.clear();
        let begun = Instant::now();
        self.call("Page.navigate", json!({ "url": url }))?;
        while !self
            .events
            .iter()
            .any(|e| e["method"] == "Page.loadEventFired")
        {
            self.read()?;
        }
        Ok(begun.elapsed())
    }

    /// The value of an expression; promises are awaited.
    pub fn eval(&mut self, expression: &str) -> io::Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params)?;
        if let Some(fault) = result.get("exceptionDetails") {
            return Err(io::Error::other(format!("{expression}: {fault}")));
        }
        Ok(result["result"]["value"].clone())
    }

    /// Middle of the first element that matches, scrolled into view.
    fn middle(&mut self, selector: &str) -> io::Result<(f64, f64)> {
        let selector = json!(selector);
        // Scrolling lays out what was skipped before, which may move things:
        // the place is taken once it is the same in two frames.
        let at = self.eval(&format!(
            "(async () => {{
              const frame = () => new Promise((done) => requestAnimationFrame(done));
              let before = '';
              for (let i = 0; i < 100; i++) {{
                const e = document.querySelector({selector});
                e.scrollIntoView({{block: 'center'}});
                await frame(); await frame();
                const r = e.getClientRects()[0];
                const at = [r.left + r.width / 2, r.top + r.height / 2];
                if (before === String(at)) return at;
                before = String(at);
              }}
            }})()"
        ))?;
        match (at[0].as_f64(), at[1].as_f64()) {
            (Some(x), Some(y)) => Ok((x, y)),
            _ => Err(io::Error::other(format!("nothing at {selector}"))),
        }
    }

    /// Moves the mouse over an element.
    pub fn hover(&mut self, selector: &str) -> io::Result<()> {
        let (x, y) = self.middle(selector)?;
        self.mouse("mouseMoved", x, y, 0)
    }

    /// Clicks an element.
    pub fn click(&mut self, selector: &str) -> io::Result<()> {
        let (x, y) = self.middle(selector)?;
        self.mouse("mouseMoved", x, y, 0)?;
        self.mouse("mousePressed", x, y, 1)?;
        self.mouse("mouseReleased", x, y, 1)
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64, clicks: u32) -> io::Result<()> {
        let button = if clicks > 0 { "left" } else { "none" };
        let params = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": clicks});
        self.call("Input.dispatchMouseEvent", params)?;
        self.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")?;
        Ok(())
    }

    /// Presses a key.
    pub fn key(&mut self, key: &str) -> io::Result<()> {
        let code = match key {
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if code == 0 && kind == "keyDown" {
                params["text"] = json!(key);
            }
            self.call("Input.dispatchKeyEvent", params)?;
        }
        Ok(())
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.eval(&format!("Boolean({expression})"))? == json!(true) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let shown = self.eval("document.body.innerText")?;
        Err(io::Error::other(format!("never {expression}: {shown}")))
    }

    /// A picture of the window, as PNG.
    pub fn picture(&mut self, path: &Path) -> io::Result<()> {
        let result = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let text = result["data"].as_str().unwrap_or_default();
        std::fs::write(path, STANDARD.decode(text).map_err(io::Error::other)?)
    }

    /// Number of pages that the document takes on paper.
    pub fn pdf_pages(&mut self) -> io::Result<usize> {
        let result = self.call("Page.printToPDF", json!({}))?;
        let text = result["data"].as_str().unwrap_or_default();
        let bytes = STANDARD.decode(text).map_err(io::Error::other)?;
        let is_page = |at: &[u8]| at.starts_with(b"/Type /Page") && at.get(11) != Some(&b's');
        Ok((0..bytes.len())
            .filter(|i| bytes.get(*i..i + 12).is_some_and(is_page))
            .count())
    }

    /// Addresses requested since the page was opened.
    pub fn requests(&self) -> Vec<String> {
        self.of("Network.requestWillBeSent")
            .map(|e| e["params"]["request"]["url"].to_string())
            .collect()
    }

    /// Console messages, log entries (policy violations among them) and
    /// exceptions since the page was opened.
    pub fn complaints(&self) -> Vec<String> {
        [
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ]
        .iter()
        .flat_map(|name| self.of(name).map(|e| e["params"].to_string()))
        .collect()
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |e| e["method"] == name)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to close, it also ends its helper processes.
        let _ = self.call("Browser.close", json!({}));
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a browser whose start failed halfway.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The port, which the browser writes into its profile.
fn debugging_port(profile: &Path) -> io::Result<u16> {
    let file = profile.join("DevToolsActivePort");
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if let Some(port) = text.lines().next().and_then(|line| line.parse().ok()) {
            return Ok(port);
        }
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(
                "the browser did not open its debugging port",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The debugging address of the blank page.
fn page_url(port: u16) -> io::Result<String> {
    use std::io::{Read as _, Write as _};
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        )?;
        let mut bytes = Vec::new();
        // The server may keep the connection open; what came is enough.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let pages: Value = serde_json::from_str(body.trim()).unwrap_or(Value::Null);
        let page = pages
            .as_array()
            .and_then(|all| all.iter().find(|p| p["type"] == "page"));
        if let Some(url) = page.and_then(|p| p["webSocketDebuggerUrl"].as_str()) {
            return Ok(url.to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other("the browser has no page"))
}
