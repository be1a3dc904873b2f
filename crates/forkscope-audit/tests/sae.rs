//! Feature dictionaries: arithmetic by hand, both orientations, and files that
//! are refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use forkscope_audit::awareness::sae::Dictionary;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

const WIDTH: usize = 3;

/// Two features of width 3 (W_enc as width x features).
const ENCODER: [f32; 6] = [1.0, 0.0, 0.0, 2.0, -1.0, 0.0];
const ROWS: [f32; 6] = [1.0, 2.0, 3.0, 4.0, -1.0, 0.5];

type Tensors<'a> = Vec<(&'a str, Vec<usize>, Vec<f32>)>;

fn write(dir: &Path, tensors: &Tensors<'_>) -> PathBuf {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views: HashMap<String, TensorView<'_>> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), b)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), b).unwrap();
            ((*name).to_owned(), view)
        })
        .collect();
    let path = dir.join("sae.safetensors");
    serialize_to_file(&views, None, &path).unwrap();
    path
}

fn plain() -> Tensors<'static> {
    vec![
        ("W_enc", vec![WIDTH, 2], ENCODER.to_vec()),
        ("b_enc", vec![2], vec![0.5, -1.0]),
    ]
}

fn values(path: &Path) -> (Vec<u32>, Vec<f32>) {
    let found = Dictionary::open(path, None, WIDTH)
        .unwrap()
        .encode(&ROWS)
        .unwrap();
    (found.active, found.values.values)
}

#[test]
fn relu_jump_relu_and_centred_encoders_are_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    // x W + b: row 0 = (1 - 3 + .5, 4 - 1) = (-1.5, 3); row 1 = (4 - .5 + .5, -2 - 1).
    let path = write(dir.path(), &plain());
    assert_eq!(values(&path), (vec![0, 1], vec![0.0, 3.0, 4.0, 0.0]));
    assert_eq!(
        Dictionary::open(&path, None, WIDTH).unwrap().kind(),
        ("relu", false)
    );

    let mut jump = plain();
    jump.push(("threshold", vec![2], vec![4.0, 1.0]));
    jump.push(("b_dec", vec![WIDTH], vec![1.0; WIDTH]));
    let path = write(dir.path(), &jump);
    assert_eq!(values(&path), (vec![1], vec![3.0, 0.0]));
    assert_eq!(
        Dictionary::open(&path, None, WIDTH).unwrap().kind(),
        ("jump_relu", false)
    );

    let mut centred = plain();
    centred.push(("b_dec", vec![WIDTH], vec![1.0, 0.0, -1.0]));
    let path = write(dir.path(), &centred);
    // x - b_dec = (0, 2, 4), (3, -1, 1.5).
    assert_eq!(values(&path), (vec![0, 1], vec![0.0, 3.0, 2.0, 0.0]));
    std::fs::write(
        dir.path().join("cfg.json"),
        r#"{"architecture": "standard", "apply_b_dec_to_input": false}"#,
    )
    .unwrap();
    assert_eq!(values(&path), (vec![0, 1], vec![0.0, 3.0, 4.0, 0.0]));
}

#[test]
fn linear_layers_are_read_as_they_lie_and_top_k_keeps_the_greatest() {
    let dir = tempfile::tempdir().unwrap();
    let transposed = vec![1.0, 0.0, -1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 1.0];
    let path = write(
        dir.path(),
        &vec![
            ("encoder.weight", vec![3, WIDTH], transposed.clone()),
            ("encoder.bias", vec![3], vec![0.5, -1.0, 0.0]),
        ],
    );
    let all = (vec![0, 1, 2], vec![0.0, 3.0, 6.0, 4.0, 0.0, 3.5]);
    assert_eq!(values(&path), all);
    std::fs::write(dir.path().join("cfg.json"), r#"{"k": 1}"#).unwrap();
    assert_eq!(values(&path), (vec![0, 2], vec![0.0, 6.0, 4.0, 0.0]));
}

#[test]
fn what_it_rebuilds_is_measured_and_names_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let negative: Vec<f32> = identity.iter().map(|x| -x).collect();
    let both: Vec<f32> = [identity, negative].concat();
    let path = write(
        dir.path(),
        &vec![
            ("encoder.weight", vec![6, WIDTH], both.clone()),
            ("encoder.bias", vec![6], vec![0.0; 6]),
            ("W_dec", vec![6, WIDTH], both),
        ],
    );
    let names = dir.path().join("names.json");
    std::fs::write(&names, r#"{"2": "exams", "5": "<b>use</b>"}"#).unwrap();
    let dictionary = Dictionary::open(&path, Some(&names), WIDTH).unwrap();
    let found = dictionary.encode(&ROWS).unwrap();
    assert_eq!(dictionary.unexplained(&ROWS, &found), Some(0.0));
    assert_eq!(found.mean_active(), 3.0);
    assert_eq!((dictionary.name(2), dictionary.name(3)), ("exams", ""));
    std::fs::write(&names, r#"{"6": "outside"}"#).unwrap();
    let error = Dictionary::open(&path, Some(&names), WIDTH).unwrap_err();
    assert!(error.to_string().contains("entry `6`"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let with = |name: &'static str, shape: Vec<usize>, values: Vec<f32>| {
        let mut t = plain();
        t.retain(|(n, _, _)| *n != name);
        t.push((name, shape, values));
        t
    };
    let cases = [
        (vec![], "W_enc"),
        (plain()[..1].to_vec(), "b_enc"),
        (with("W_enc", vec![2, 2], vec![1.0; 4]), "W_enc"),
        (with("W_enc", vec![6], vec![1.0; 6]), "W_enc"),
        (with("W_enc", vec![WIDTH, 0], vec![]), "W_enc"),
        (with("b_enc", vec![3], vec![1.0; 3]), "b_enc"),
        (with("b_enc", vec![2], vec![1.0, f32::NAN]), "b_enc"),
        (with("W_enc", vec![3, 2], vec![f32::INFINITY; 6]), "W_enc"),
        (with("threshold", vec![1], vec![1.0]), "threshold"),
        (with("W_dec", vec![5, 3], vec![1.0; 15]), "W_dec"),
        (with("r_mag", vec![2], vec![1.0; 2]), "r_mag"),
    ];
    for (tensors, name) in cases {
        let path = write(dir.path(), &tensors);
        let error = Dictionary::open(&path, None, WIDTH)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
    let path = write(dir.path(), &plain());
    for (cfg, word) in [
        (r#"{"architecture": "gated"}"#, "gated"),
        (r#"{"architecture": "topk"}"#, "`k`"),
        (r#"{"k": 9}"#, "`k`"),
        (r#"{"normalize_activations": "layer_norm"}"#, "layer_norm"),
        ("[", "JSON"),
    ] {
        std::fs::write(dir.path().join("cfg.json"), cfg).unwrap();
        let error = Dictionary::open(&path, None, WIDTH)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{cfg}: {error}");
    }
    for (name, bytes) in [
        (
            "short.safetensors",
            &b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"[..],
        ),
        ("empty.safetensors", b""),
        ("params.npz", b"PK"),
        ("x.pt", b"PK"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Dictionary::open(&path, None, WIDTH)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(Dictionary::open(&dir.path().join("absent.safetensors"), None, WIDTH).is_err());
    let overflow = write(dir.path(), &with("W_enc", vec![3, 2], vec![3e38; 6]));
    std::fs::remove_file(dir.path().join("cfg.json")).unwrap();
    let opened = Dictionary::open(&overflow, None, WIDTH).unwrap();
    let error = opened.encode(&[9.0; 3]).unwrap_err().to_string();
    assert!(error.contains("overflows"), "{error}");
}
