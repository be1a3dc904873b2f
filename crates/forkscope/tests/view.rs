//! `forkscope view` as a user starts it.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};

use common::Sandbox;
use serde_json::json;

fn run(sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path().join("run")).unwrap();
    let manifest = json!({"schema": "forkscope/run/1", "command": "diff", "status": "complete",
        "timing": {"started": "2026-01-02T03:04:05Z"}});
    sandbox.file("run/run.json", manifest.to_string());
}

fn start(sandbox: &Sandbox, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = sandbox.command();
    command.args(["view", "run"]).args(args);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary");
    let out = BufReader::new(child.stdout.take().expect("stdout"));
    (child, out)
}

/// Status line of an answer to a GET of that address.
fn get(url: &str) -> String {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("an address");
    let mut stream = TcpStream::connect(host).expect("a server");
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn it_prints_an_address_and_stops_at_an_interrupt() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let (mut child, mut out) = start(&sandbox, &[]);
    let mut url = String::new();
    out.read_line(&mut url).expect("an address");
    let url = url.trim();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with('/'),
        "{url}"
    );
    assert_eq!(get(url), "HTTP/1.1 200 OK");
    assert_eq!(get(&format!("{url}api/run")), "HTTP/1.1 200 OK");
    let bare = url
        .trim_end_matches('/')
        .rsplit_once('/')
        .expect("a token")
        .0;
    assert_eq!(get(&format!("{bare}/")), "HTTP/1.1 403 Forbidden");
    assert_eq!(
        sandbox.shell(&format!("kill -INT {}", child.id())).code,
        Some(0)
    );
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let mut said = String::new();
    let stderr = child.stderr.take();
    stderr
        .expect("stderr")
        .read_to_string(&mut said)
        .expect("text");
    assert_eq!(said, "");
}

#[test]
fn a_port_may_be_chosen_and_time_limited() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let document = sandbox.json(&["view", "run", "--seconds", "1"]);
    assert_eq!(document["schema"], json!("forkscope/view/1"));
    assert!(
        document["url"]
            .as_str()
            .is_some_and(|u| u.starts_with("http://127.0.0.1:"))
    );
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let line = sandbox.fails(3, &["view", "run", "--port", &port]);
    assert!(line.contains(&port) && line.contains("--port"), "{line}");
}

#[test]
fn what_is_no_run_is_refused() {
    let sandbox = Sandbox::new();
    let line = sandbox.fails(3, &["view", "missing"]);
    assert!(line.contains("missing"), "{line}");
    run(&sandbox);
    sandbox.file("run/findings.json", "{\"schema\": 3");
    let line = sandbox.fails(3, &["view", "run"]);
    assert!(line.contains("findings.json"), "{line}");
    assert_eq!(sandbox.run(&["view", "run", "--port", "0"]).code, Some(2));
}
