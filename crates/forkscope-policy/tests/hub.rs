//! Hub ids, against a server on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use forkscope_policy::hub::{HubFile, HubSettings, dataset_file_with, resolve_with};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";

#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    cut: Option<usize>,
}

type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A server that answers paths from a table and keeps what it was asked.
struct Hub {
    endpoint: String,
    routes: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Asked,
}

impl Hub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let routes: Arc<Mutex<HashMap<String, Answer>>> = Arc::default();
        let asked: Asked = Arc::default();
        let (table, log) = (routes.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &table, &log);
            }
        });
        Self {
            endpoint,
            routes,
            asked,
        }
    }

    fn put(&self, path: &str, answer: Answer) {
        self.routes.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// A revision with the given files.
    fn model(&self, id: &str, revision: &str, commit: &str, files: &[(&str, &str)]) {
        let siblings: Vec<_> = files
            .iter()
            .map(|(name, _)| serde_json::json!({ "rfilename": name }))
            .collect();
        let listing = serde_json::json!({ "sha": commit, "siblings": siblings, "private": false });
        let path = format!("/api/models/{id}/revision/{revision}");
        self.put(
            &path,
            Answer {
                status: 200,
                body: listing.to_string().into(),
                ..Answer::default()
            },
        );
        for (name, text) in files {
            self.file(id, commit, name, text);
        }
    }

    fn file(&self, id: &str, commit: &str, name: &str, text: &str) {
        let tag = format!("\"{}\"", hex(&Sha256::digest(text.as_bytes())));
        let answer = Answer {
            status: 200,
            headers: vec![("ETag".into(), tag)],
            body: text.into(),
            cut: None,
        };
        self.put(&format!("/{id}/resolve/{commit}/{name}"), answer);
    }

    fn asked_for(&self, part: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|(path, _)| path.contains(part))
            .count()
    }
}

fn serve(stream: TcpStream, routes: &Mutex<HashMap<String, Answer>>, asked: &Asked) {
    let mut lines = BufReader::new(&stream).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let path = first.split(' ').nth(1).unwrap_or("").to_owned();
    let mut token = None;
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("authorization: ") {
            token = Some(value.to_owned());
        }
    }
    asked.lock().unwrap().push((path.clone(), token));
    let missing = Answer {
        status: 404,
        ..Answer::default()
    };
    let answer = routes
        .lock()
        .unwrap()
        .get(&path)
        .cloned()
        .unwrap_or(missing);
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    let _ = (&stream).write_all(head.as_bytes());
    let _ = (&stream).write_all(b"\r\n");
    let _ = (&stream).write_all(body);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn settings(cache: &Path, endpoint: &str) -> HubSettings {
    HubSettings {
        cache: cache.to_owned(),
        endpoint: endpoint.to_owned(),
        offline: false,
        token: None,
    }
}

const SMALL: &[(&str, &str)] = &[
    ("config.json", "{}"),
    ("tokenizer.json", "{\"t\":1}"),
    ("model.safetensors", "weights"),
    ("pytorch_model.bin", "never"),
    ("modeling_x.py", "never"),
    ("onnx/model.onnx", "never"),
    ("README.md", "never"),
];

fn says(result: Result<std::path::PathBuf, forkscope_policy::PolicyError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_model_is_downloaded_once_and_then_needs_no_server() {
    let (hub, cache) = (Hub::start(), tempfile::tempdir().unwrap());
    hub.model("org/m", "main", COMMIT, SMALL);
    let online = settings(cache.path(), &hub.endpoint);
    let dir = resolve_with(&online, "org/m").unwrap();
    assert_eq!(
        dir,
        cache.path().join("models--org--m/snapshots").join(COMMIT)
    );
    assert_eq!(
        std::fs::read_to_string(dir.join("model.safetensors")).unwrap(),
        "weights"
    );
    assert_eq!(
        std::fs::read_to_string(dir.join("config.json")).unwrap(),
        "{}"
    );
    let refs = cache.path().join("models--org--m/refs/main");
    assert_eq!(std::fs::read_to_string(refs).unwrap(), COMMIT);
    for never in ["pytorch_model.bin", "modeling_x.py", "onnx", "README.md"] {
        assert!(!dir.join(never).exists());
        assert_eq!(hub.asked_for(never), 0);
    }
    // The layout is the hub's: a link to the content under the server's tag.
    let link = std::fs::read_link(dir.join("model.safetensors")).unwrap();
    let tag = hex(&Sha256::digest(b"weights"));
    assert_eq!(link, Path::new("../../blobs").join(tag));
    assert!(
        std::fs::read_dir(cache.path().join("models--org--m/blobs"))
            .unwrap()
            .all(|entry| {
                !entry
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains("incomplete")
            })
    );

    // Again: the branch is asked for, no file is.
    let files = hub.asked_for("/resolve/");
    assert_eq!(resolve_with(&online, "org/m@main").unwrap(), dir);
    assert_eq!(hub.asked_for("/resolve/"), files);

    // By commit: nothing is asked for at all.
    let all = hub.asked_for("");
    assert_eq!(
        resolve_with(&online, &format!("org/m@{COMMIT}")).unwrap(),
        dir
    );
    assert_eq!(hub.asked_for(""), all);

    // The server is gone, or off limits.
    let gone = settings(cache.path(), "http://127.0.0.1:9");
    assert_eq!(resolve_with(&gone, "org/m").unwrap(), dir);
    let offline = HubSettings {
        offline: true,
        ..online
    };
    assert_eq!(resolve_with(&offline, "org/m").unwrap(), dir);
    assert_eq!(hub.asked_for(""), all);
}

#[test]
fn what_is_not_cached_cannot_be_had_offline() {
    let cache = tempfile::tempdir().unwrap();
    let offline = HubSettings {
        offline: true,
        ..settings(cache.path(), "http://127.0.0.1:9")
    };
    let said = says(resolve_with(&offline, "org/m@v1"));
    assert!(
        said.starts_with("org/m@v1: HF_HUB_OFFLINE is set"),
        "{said}"
    );
    assert!(said.contains(&cache.path().display().to_string()), "{said}");
    assert!(said.ends_with("unset it to download the model"), "{said}");
    let said = says(resolve_with(
        &HubSettings {
            offline: false,
            ..offline
        },
        "org/m@v1",
    ));
    assert!(
        said.contains("http://127.0.0.1:9 cannot be reached"),
        "{said}"
    );
    let said = says(resolve_with(
        &settings(cache.path(), "http://127.0.0.1:9"),
        "./nowhere",
    ));
    assert!(
        said.starts_with("./nowhere: no such path, and not a hub id"),
        "{said}"
    );
}

#[test]
fn half_a_snapshot_is_not_taken_for_a_whole_one() {
    let (hub, cache) = (Hub::start(), tempfile::tempdir().unwrap());
    hub.model("org/m", "main", COMMIT, SMALL);
    let online = settings(cache.path(), &hub.endpoint);
    let dir = resolve_with(&online, "org/m").unwrap();
    std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    let offline = HubSettings {
        offline: true,
        ..online.clone()
    };
    assert!(says(resolve_with(&offline, "org/m")).contains("no whole copy"));
    resolve_with(&online, "org/m").unwrap();
    assert!(resolve_with(&offline, "org/m").is_ok());
}

#[test]
fn revisions_are_told_apart() {
    let (hub, cache) = (Hub::start(), tempfile::tempdir().unwrap());
    hub.model("org/m", "main", COMMIT, SMALL);
    hub.model(
        "org/m",
        "refs%2Fpr%2F1",
        OTHER,
        &[("config.json", "{}"), ("model.safetensors", "two")],
    );
    let online = settings(cache.path(), &hub.endpoint);
    let main = resolve_with(&online, "org/m").unwrap();
    let other = resolve_with(&online, "org/m@refs/pr/1").unwrap();
    assert_ne!(main, other);
    assert_eq!(
        std::fs::read_to_string(other.join("model.safetensors")).unwrap(),
        "two"
    );
    let offline = HubSettings {
        offline: true,
        ..online
    };
    assert_eq!(resolve_with(&offline, "org/m@refs/pr/1").unwrap(), other);
    assert!(resolve_with(&offline, "org/m@refs/pr/2").is_err());
}

#[test]
fn shards_are_fetched_by_the_index() {
    let (hub, cache) = (Hub::start(), tempfile::tempdir().unwrap());
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let files = [
        ("config.json", "{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", "1"),
        ("model-2.safetensors", "2"),
        ("consolidated.safetensors", "never"),
    ];
    hub.model("org/m", "main", COMMIT, &files);
    let dir = resolve_with(&settings(cache.path(), &hub.endpoint), "org/m").unwrap();
    assert!(dir.join("model-1.safetensors").is_file() && dir.join("model-2.safetensors").is_file());
    assert_eq!(hub.asked_for("consolidated"), 0);
}

#[test]
fn hostile_names_stay_out_of_the_file_system() {
    let hub = Hub::start();
    for (i, name) in [
        "../../../x.safetensors",
        "/x.safetensors",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "x.bin",
        "7",
    ]
    .into_iter()
    .enumerate()
    {
        let cache = tempfile::tempdir().unwrap();
        let index = serde_json::json!({ "weight_map": { "a": name } }).to_string();
        let id = format!("org/m{i}");
        hub.model(
            &id,
            "main",
            COMMIT,
            &[
                ("config.json", "{}"),
                ("model.safetensors.index.json", &index),
                (name, "x"),
            ],
        );
        let said = says(resolve_with(&settings(cache.path(), &hub.endpoint), &id));
        assert!(said.contains("weight_map sends \"a\" to"), "{said}");
    }
    // A tag or a commit that is a path.
    let cache = tempfile::tempdir().unwrap();
    hub.model("org/tag", "main", COMMIT, SMALL);
    let outside = cache.path().join("outside");
    for tag in ["../../../outside", outside.to_str().unwrap()] {
        let headers = vec![("ETag".to_owned(), format!("\"{tag}\""))];
        let answer = Answer {
            status: 200,
            headers,
            body: b"weights".into(),
            cut: None,
        };
        hub.put(
            &format!("/org/tag/resolve/{COMMIT}/model.safetensors"),
            answer,
        );
        let dir =
            resolve_with(&settings(&cache.path().join("c"), &hub.endpoint), "org/tag").unwrap();
        assert_eq!(
            std::fs::read(dir.join("model.safetensors")).unwrap(),
            b"weights"
        );
        assert!(!outside.exists());
        std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    }
    hub.model("org/sha", "main", "../../../outside", SMALL);
    let said = says(resolve_with(
        &settings(cache.path(), &hub.endpoint),
        "org/sha",
    ));
    assert!(said.contains("names no commit"), "{said}");
    // An index that names what the listing lacks.
    let index = r#"{"weight_map": {"a": "gone.safetensors"}}"#;
    hub.model(
        "org/gone",
        "main",
        COMMIT,
        &[
            ("config.json", "{}"),
            ("model.safetensors.index.json", index),
        ],
    );
    let said = says(resolve_with(
        &settings(cache.path(), &hub.endpoint),
        "org/gone",
    ));
    assert!(said.contains("gone.safetensors"), "{said}");
}

#[test]
fn refusals_say_what_to_do() {
    let (hub, cache) = (Hub::start(), tempfile::tempdir().unwrap());
    let online = settings(cache.path(), &hub.endpoint);
    let said = says(resolve_with(&online, "org/none"));
    assert!(
        said.contains("the hub has no org/none@main (status 404)"),
        "{said}"
    );
    for (status, remedy) in [
        (401, "set HF_TOKEN"),
        (403, "set HF_TOKEN"),
        (500, "try again later"),
    ] {
        hub.put(
            "/api/models/org/no/revision/main",
            Answer {
                status,
                ..Answer::default()
            },
        );
        let said = says(resolve_with(&online, "org/no"));
        assert!(said.contains(remedy), "{said}");
    }
    hub.put(
        "/api/models/org/no/revision/main",
        Answer {
            status: 200,
            body: b"<html>".into(),
            ..Answer::default()
        },
    );
    assert!(says(resolve_with(&online, "org/no")).contains("not a listing"));
    hub.model(
        "org/bin",
        "main",
        COMMIT,
        &[("config.json", "{}"), ("pytorch_model.bin", "x")],
    );
    let said = says(resolve_with(&online, "org/bin"));
    assert!(
        said.contains("pickles") && said.contains("convert them to safetensors"),
        "{said}"
    );
    hub.model("org/empty", "main", COMMIT, &[("config.json", "{}")]);
    assert!(says(resolve_with(&online, "org/empty")).contains("no model.safetensors"));
}

#[test]
fn broken_downloads_leave_nothing_behind() {
    let (hub, cache) = (Hub::start(), tempfile::tempdir().unwrap());
    hub.model("org/m", "main", COMMIT, SMALL);
    let path = format!("/org/m/resolve/{COMMIT}/model.safetensors");
    let online = settings(cache.path(), &hub.endpoint);
    let whole = hub.routes.lock().unwrap()[&path].clone();
    hub.put(
        &path,
        Answer {
            cut: Some(3),
            ..whole.clone()
        },
    );
    assert!(says(resolve_with(&online, "org/m")).contains("the download failed"));
    hub.put(
        &path,
        Answer {
            body: b"WEIGHTS".into(),
            ..whole.clone()
        },
    );
    assert!(says(resolve_with(&online, "org/m")).contains("does not match its sha256"));
    let offline = HubSettings {
        offline: true,
        ..online.clone()
    };
    assert!(resolve_with(&offline, "org/m").is_err());
    hub.put(&path, whole);
    resolve_with(&online, "org/m").unwrap();
    let blobs = std::fs::read_dir(cache.path().join("models--org--m/blobs")).unwrap();
    assert!(blobs.into_iter().all(|b| {
        !b.unwrap()
            .file_name()
            .to_string_lossy()
            .contains("incomplete")
    }));
}

#[test]
fn the_token_is_shown_to_the_hub_alone() {
    let (hub, elsewhere, cache) = (Hub::start(), Hub::start(), tempfile::tempdir().unwrap());
    hub.model("org/m", "main", COMMIT, SMALL);
    elsewhere.put(
        "/storage",
        Answer {
            status: 200,
            body: b"weights".into(),
            ..Answer::default()
        },
    );
    let headers = vec![
        (
            "Location".to_owned(),
            format!("{}/storage", elsewhere.endpoint),
        ),
        (
            "X-Linked-Etag".to_owned(),
            format!("\"{}\"", hex(&Sha256::digest(b"weights"))),
        ),
    ];
    let path = format!("/org/m/resolve/{COMMIT}/model.safetensors");
    hub.put(
        &path,
        Answer {
            status: 302,
            headers,
            ..Answer::default()
        },
    );
    // A redirect within the hub is followed with the token.
    let headers = vec![("Location".to_owned(), "/moved".to_owned())];
    hub.put(
        &format!("/org/m/resolve/{COMMIT}/config.json"),
        Answer {
            status: 307,
            headers,
            ..Answer::default()
        },
    );
    hub.put(
        "/moved",
        Answer {
            status: 200,
            body: b"{}".into(),
            ..Answer::default()
        },
    );

    let online = HubSettings {
        token: Some("secret".into()),
        ..settings(cache.path(), &hub.endpoint)
    };
    let dir = resolve_with(&online, "org/m").unwrap();
    assert_eq!(
        std::fs::read(dir.join("model.safetensors")).unwrap(),
        b"weights"
    );
    let shown = |hub: &Hub| -> Vec<Option<String>> {
        hub.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, token)| token.clone())
            .collect()
    };
    assert!(
        shown(&hub)
            .iter()
            .all(|token| token.as_deref() == Some("bearer secret"))
    );
    assert_eq!(shown(&elsewhere), [None]);

    // Redirects end.
    let headers = vec![(
        "Location".to_owned(),
        "/api/models/org/loop/revision/main".to_owned(),
    )];
    hub.put(
        "/api/models/org/loop/revision/main",
        Answer {
            status: 302,
            headers,
            ..Answer::default()
        },
    );
    assert!(says(resolve_with(&online, "org/loop")).contains("redirects without end"));
    let headers = vec![("Location".to_owned(), "file:///etc/passwd".to_owned())];
    hub.put(
        "/api/models/org/file/revision/main",
        Answer {
            status: 302,
            headers,
            ..Answer::default()
        },
    );
    assert!(says(resolve_with(&online, "org/file")).contains("redirects to"));
}

#[test]
fn a_file_of_a_dataset_is_fetched_once_and_found_offline() {
    let hub = Hub::start();
    let listing = serde_json::json!({ "sha": COMMIT, "siblings": [] });
    let answer = Answer {
        status: 200,
        body: listing.to_string().into(),
        ..Answer::default()
    };
    hub.put("/api/datasets/org/data/revision/main", answer);
    let text = "{\"problem\": \"1+1\", \"answer\": \"2\"}\n";
    hub.file("datasets/org/data", COMMIT, "main/test.jsonl", text);
    let cache = tempfile::tempdir().unwrap();
    let file = HubFile::parse("hub:datasets/org/data/main/test.jsonl").unwrap();
    let settings = |offline| HubSettings {
        cache: cache.path().to_owned(),
        endpoint: hub.endpoint.clone(),
        offline,
        token: None,
    };
    let missing = dataset_file_with(&settings(true), &file).unwrap_err();
    assert!(missing.to_string().contains("HF_HUB_OFFLINE"), "{missing}");
    for offline in [false, false, true] {
        let path = dataset_file_with(&settings(offline), &file).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let place = format!("datasets--org--data/snapshots/{COMMIT}/main/test.jsonl");
        assert_eq!(path, cache.path().join(place));
    }
    assert_eq!(hub.asked_for("/resolve/"), 1);
    let absent = HubFile::parse("hub:datasets/org/data/other.jsonl").unwrap();
    let error = dataset_file_with(&settings(false), &absent).unwrap_err();
    assert!(error.to_string().contains("status 404"), "{error}");
}
