//! The viewer's server: who is refused, and what is answered.

mod common;
#[path = "common/on_disk.rs"]
mod on_disk;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use forkscope_report::Viewer;
use serde_json::{Value, json};

struct Served {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    port: u16,
    token: String,
    dir: tempfile::TempDir,
}

impl Served {
    fn new(rollouts: usize, len: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        on_disk::write(&dir.path().join("run"), &common::run(rollouts, len), 64);
        Self::of(dir)
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let viewer = Viewer::open(&dir.path().join("run"), 0).unwrap();
        let rest = viewer.url().strip_prefix("http://127.0.0.1:").unwrap();
        let (port, token) = rest.trim_end_matches('/').split_once('/').unwrap();
        let (port, token) = (port.parse().unwrap(), token.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            viewer.serve(|| flag.load(Ordering::Relaxed)).unwrap();
        });
        Self {
            stop,
            thread: Some(thread),
            port,
            token,
            dir,
        }
    }

    /// What the server sends for these bytes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // The server may close before all is sent.
        let _ = stream.write_all(bytes);
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out);
        let _ = stream.shutdown(Shutdown::Both);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn send(&self, method: &str, target: &str, headers: &str) -> String {
        let host = match headers.to_lowercase().contains("host:") {
            true => String::new(),
            false => format!("Host: 127.0.0.1:{}\r\n", self.port),
        };
        self.raw(
            format!("{method} {target} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n")
                .as_bytes(),
        )
    }

    fn status(&self, method: &str, target: &str, headers: &str) -> u16 {
        let answer = self.send(method, target, headers);
        let status = answer.split_whitespace().nth(1);
        status
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("{target}: {answer:?}"))
    }

    fn path(&self, rest: &str) -> String {
        format!("/{}/{rest}", self.token)
    }

    fn body(&self, rest: &str) -> String {
        let answer = self.send("GET", &self.path(rest), "");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{rest}: {answer}");
        body.to_owned()
    }

    fn json(&self, rest: &str) -> Value {
        serde_json::from_str(&self.body(rest)).unwrap()
    }

    /// The first page of rollouts once the index is whole.
    fn settled(&self, rest: &str) -> Value {
        for _ in 0..500 {
            let page = self.json(rest);
            assert_eq!(page["index"]["error"], Value::Null);
            if page["index"]["whole"] == json!(true) {
                return page;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the index is never whole");
    }

    fn run(&self) -> std::path::PathBuf {
        self.dir.path().join("run")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn strangers_are_refused() {
    let served = Served::new(2, 60);
    let page = served.path("");
    assert_eq!(served.status("GET", &page, ""), 200);
    assert_eq!(served.status("HEAD", &page, ""), 200);
    // Wrong token, or none.
    let wrong = format!("/{}/", "0".repeat(32));
    for path in [
        "/",
        "/index.html",
        "/api/run",
        wrong.as_str(),
        "/favicon.ico",
    ] {
        assert_eq!(served.status("GET", path, ""), 403, "{path}");
    }
    let bare = format!("/{}", served.token);
    assert_eq!(served.status("GET", &bare, ""), 404);
    // Foreign names.
    for host in [
        "evil.example",
        "127.0.0.1",
        "localhost:1",
        "127.0.0.1.nip.io:80",
    ] {
        assert_eq!(
            served.status("GET", &page, &format!("Host: {host}\r\n")),
            403,
            "{host}"
        );
    }
    let own = format!("Host: localhost:{}\r\n", served.port);
    assert_eq!(served.status("GET", &page, &own), 200);
    let api = served.path("api/run");
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://localhost",
    ] {
        assert_eq!(
            served.status("GET", &api, &format!("Origin: {origin}\r\n")),
            403,
            "{origin}"
        );
    }
    assert_eq!(
        served.status("GET", &api, "Sec-Fetch-Site: cross-site\r\n"),
        403
    );
    // Methods and bodies.
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        assert_eq!(served.status(method, &api, ""), 405, "{method}");
    }
    assert_eq!(served.status("GET", &api, "Content-Length: 5\r\n"), 413);
    assert_eq!(
        served.status("GET", &api, "Transfer-Encoding: chunked\r\n"),
        413
    );
}

#[test]
fn paths_do_not_reach_files() {
    let served = Served::new(2, 60);
    std::fs::write(served.run().join("secret.txt"), "secret").unwrap();
    for rest in [
        "../run/secret.txt",
        "secret.txt",
        "run.json",
        "tokens.parquet",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "../../../../etc/passwd",
        "/etc/passwd",
        "api/../run.json",
        "api/run/../../run.json",
        "view.css/../run.json",
        "view.js%00.parquet",
        "api/rollout/../../../etc/passwd",
        "..\\..\\run.json",
        "./run.json",
    ] {
        let answer = served.send("GET", &served.path(rest), "");
        let refused = ["HTTP/1.1 404", "HTTP/1.1 400", "HTTP/1.1 403"];
        assert!(
            refused.iter().any(|r| answer.starts_with(r)),
            "{rest}: {answer}"
        );
        assert!(
            !answer.contains("secret") && !answer.contains("root:"),
            "{rest}"
        );
    }
    for rest in [
        "api/rollout?n=../../etc/passwd",
        "api/rollout?n=-1",
        "api/rollout?n=1e9",
        "api/rollout?path=/etc/passwd",
        "api/rollouts?sort=../x",
        "api/rollouts?limit=1000000",
        "api/rollouts?min=mean_kl",
        "api/rollouts?min=mean_kl:NaN",
        "api/rollouts?correct=perhaps",
        "api/branch?row=x",
        "api/links?limit=99999",
    ] {
        assert_eq!(served.status("GET", &served.path(rest), ""), 400, "{rest}");
    }
    for rest in [
        "api/rollout?n=99",
        "api/branch?row=99",
        "api/reversion?row=9999",
    ] {
        assert_eq!(served.status("GET", &served.path(rest), ""), 404, "{rest}");
    }
}

#[test]
fn too_much_is_refused() {
    let served = Served::new(2, 60);
    let long = format!(
        "{}?problem={}",
        served.path("api/rollouts"),
        "x".repeat(6000)
    );
    assert_eq!(served.status("GET", &long, ""), 414);
    let huge = format!("X-Filler: {}\r\n", "y".repeat(40_000));
    let status = served.status("GET", &served.path(""), &huge);
    assert!(matches!(status, 414 | 431), "{status}");
    let many: String = (0..200).map(|i| format!("X-{i}: 1\r\n")).collect();
    assert_eq!(served.status("GET", &served.path(""), &many), 431);
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answer = served.raw(nonsense);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    // Who connects and says nothing keeps nobody else out.
    let idle: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", served.port)).unwrap())
        .collect();
    assert_eq!(served.status("GET", &served.path(""), ""), 200);
    drop(idle);
}

#[test]
fn every_answer_is_guarded() {
    let served = Served::new(2, 60);
    for target in [
        served.path(""),
        served.path("view.js"),
        served.path("view.css"),
        served.path("api/run"),
        served.path("api/rollouts"),
        served.path("missing"),
        "/".to_owned(),
    ] {
        let answer = served.send("GET", &target, "").to_lowercase();
        let head = answer.split("\r\n\r\n").next().unwrap().to_owned();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{target}: {header} in {head}");
        }
        assert!(!head.contains("unsafe") && !head.contains("access-control"));
    }
    let page = served.body("");
    assert!(!page.contains("<script>") && !page.contains(" style=") && !page.contains(" on"));
    let script = served.body("view.js");
    for sink in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
    ] {
        assert!(!script.contains(sink), "{sink}");
    }
}

/// Every text of an answer.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|v| texts(v, out)),
        Value::Object(map) => map.iter().for_each(|(name, v)| {
            out.push(name.clone());
            texts(v, out);
        }),
        _ => {}
    }
}

#[test]
fn text_is_inert_in_every_answer() {
    let served = Served::new(3, 60);
    let mut all = Vec::new();
    for rest in [
        "api/run",
        "api/figures",
        "api/rollouts",
        "api/rollout?n=0",
        "api/branches",
        "api/branch?row=1",
        "api/curves",
        "api/links",
        "api/reversion?row=0",
        "api/awareness",
    ] {
        texts(&served.json(rest), &mut all);
    }
    let acts = |c: char| {
        (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{200b}'
    };
    for text in &all {
        assert!(!text.chars().any(acts), "{text:?}");
    }
    assert!(all.iter().any(|t| t.contains("␛[31mred")));
    assert!(all.iter().any(|t| t.contains("⟨U+202E⟩")));
}

#[test]
fn the_list_is_sorted_and_filtered() {
    let served = Served::new(30, 100);
    let whole = served.settled("api/rollouts?limit=500");
    assert_eq!(
        (&whole["matched"], &whole["kind"]),
        (&json!(30), &json!("diff"))
    );
    let ids: Vec<&str> = whole["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    let data = common::run(30, 100);
    // The numbers are those of the rows in use.
    for (n, rollout) in data.rollouts.iter().enumerate() {
        let rows: Vec<_> = data
            .rows
            .iter()
            .filter(|r| r.problem_id == rollout.problem_id && r.sample == rollout.sample)
            .filter(|r| r.validity == forkscope_records::types::Validity::Ok)
            .collect();
        let number = |id: &str| {
            let at = ids.iter().position(|i| *i == id).unwrap();
            whole["rows"][n]["numbers"][at].as_f64().unwrap()
        };
        let sum: f64 = rows.iter().filter_map(|r| r.kl_tuned_base_nats).sum();
        assert!((number("sum_kl") - sum).abs() <= sum * 1e-5, "{n}");
        let max = rows.iter().map(|r| r.js_nats).fold(0.0, f64::max);
        assert!((number("max_js") - max).abs() <= max * 1e-5, "{n}");
        assert_eq!(number("left_out"), (100 - rows.len()) as f64);
    }
    for id in &ids {
        let page = served.json(&format!("api/rollouts?sort={id}&order=down&limit=500"));
        let at = ids.iter().position(|i| i == id).unwrap();
        let column: Vec<f64> = page["rows"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| r["numbers"][at].as_f64())
            .collect();
        assert!(
            column.is_sorted_by(|a, b| a >= b) && column.len() == 30,
            "{id}: {column:?}"
        );
    }
    let wrong = served.json("api/rollouts?correct=no");
    assert!(
        wrong["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["correct"] == json!(false))
    );
    assert_eq!(wrong["matched"], json!(10));
    let named = served.json("api/rollouts?problem=P1&sort=problem");
    assert!(
        named["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["problem"].as_str().unwrap().contains("p1"))
    );
    let some = served.json("api/rollouts?min=sum_kl:3&max=sum_kl:5&class=shifted&limit=1&offset=1");
    assert!(some["matched"].as_u64().unwrap() < 30 && some["rows"].as_array().unwrap().len() <= 1);
}

#[test]
fn a_rollout_opens_whole_and_in_parts() {
    let served = Served::new(7, 150);
    let data = common::run(7, 150);
    for n in [5usize, 0, 6] {
        let r = served.json(&format!("api/rollout?n={n}"));
        assert_eq!((&r["total"], &r["kind"]), (&json!(150), &json!("diff")));
        let words = &r["words"];
        let first = data.rows.iter().position(|row| {
            row.problem_id == data.rollouts[n].problem_id && row.sample == data.rollouts[n].sample
        });
        let row = &data.rows[first.unwrap() + 77];
        let token = r["rows"]["token"][77].as_u64().unwrap() as usize;
        assert_eq!(words["ids"][token], json!(row.token_id));
        assert!((r["rows"]["js"][77].as_f64().unwrap() - row.js_nats).abs() < 1e-6);
        assert_eq!(r["rows"]["base"][77].as_array().unwrap().len(), 5);
        assert_eq!(r["prompt"].as_array().unwrap().len(), 12);
        let part = served.json(&format!("api/rollout?n={n}&from=70&count=10"));
        assert_eq!(part["rows"]["t"][7], r["rows"]["t"][77]);
        assert_eq!(part["rows"]["t"].as_array().unwrap().len(), 10);
    }
    let beyond = served.json("api/rollout?n=0&from=400");
    assert_eq!(beyond["rows"]["t"], json!([]));
}

#[test]
fn branches_part_where_they_do() {
    let served = Served::new(2, 60);
    let page = served.json("api/branches");
    assert_eq!((&page["arm"], &page["matched"]), (&json!(1), &json!(6)));
    assert_eq!(page["arms"][1]["counts"]["gained"], json!(4));
    assert_eq!(
        served.json("api/branches?arm=1&outcome=gained")["matched"],
        json!(4)
    );
    let branch = served.json("api/branch?row=4");
    assert_eq!(
        (&branch["arm"], &branch["parting"]),
        (&json!("js"), &json!(17))
    );
    assert_eq!(branch["path"]["changed"], json!([17]));
    assert_eq!(
        (&branch["base"]["correct"], &branch["path"]["correct"]),
        (&json!(false), &json!(true))
    );
    let same = served.json("api/branch?row=5");
    assert_eq!(same["parting"], Value::Null);
}

#[test]
fn runs_without_some_tables_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    on_disk::write(&dir.path().join("run"), &common::run(4, 50), 64);
    for name in ["interventions", "reversions", "awareness", "rollouts"] {
        std::fs::remove_file(dir.path().join(format!("run/{name}.parquet"))).unwrap();
    }
    std::fs::remove_file(dir.path().join("run/findings.json")).unwrap();
    let served = Served::of(dir);
    let run = served.json("api/run");
    assert_eq!(
        run["has"],
        json!({"rollouts": true, "branches": false, "reversions": false, "awareness": false})
    );
    let list = served.settled("api/rollouts");
    assert_eq!(list["matched"], json!(4));
    assert_eq!(served.json("api/rollout?n=3")["total"], json!(50));
    assert_eq!(served.json("api/branches")["matched"], json!(0));
    assert_eq!(served.json("api/curves")["groups"], json!([]));
    assert_eq!(served.json("api/awareness")["figures"], json!([]));
}

#[test]
fn a_broken_table_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    on_disk::write(&run, &common::run(4, 50), 64);
    let tokens = run.join("tokens.parquet");
    let bytes = std::fs::read(&tokens).unwrap();
    std::fs::write(&tokens, &bytes[..bytes.len() / 2]).unwrap();
    let served = Served::of(dir);
    assert_eq!(served.status("GET", &served.path(""), ""), 200);
    let answer = served.send("GET", &served.path("api/rollouts"), "");
    assert!(
        answer.starts_with("HTTP/1.1 422") && answer.contains("tokens.parquet"),
        "{answer}"
    );
    assert!(Viewer::open(Path::new("no/such/run"), 0).is_err());
}
