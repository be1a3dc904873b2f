//! Checkpoints written here, their difference factored, the adapter read back.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use forkscope_train::{Cut, RankPlan, TrainError, low_rank_adapter};
use half::bf16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

type Tensor = (Vec<usize>, Vec<f32>);
type Tensors = BTreeMap<String, Tensor>;

const Q0: &str = "model.layers.0.self_attn.q_proj.weight";
const Q1: &str = "model.layers.1.self_attn.q_proj.weight";
const DOWN0: &str = "model.layers.0.mlp.down_proj.weight";
const NORM: &str = "model.norm.weight";

/// A stream of numbers in -0.5..0.5, the same for the same seed.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(2) + 1;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

fn base() -> Tensors {
    let mut next = numbers(1);
    let shapes = [
        (Q0, vec![12, 10]),
        (Q1, vec![12, 10]),
        (DOWN0, vec![10, 16]),
        (NORM, vec![10]),
    ];
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product()).map(|_| next()).collect();
            (name.to_owned(), (shape, values))
        })
        .collect()
}

/// Adds a product of rank `rank` to `name`.
fn plant(tensors: &mut Tensors, name: &str, rank: usize, seed: u64) {
    let mut next = numbers(seed);
    let (shape, values) = tensors.get_mut(name).expect("tensor");
    let (rows, columns) = (shape[0], shape[1]);
    for _ in 0..rank {
        let u: Vec<f32> = (0..rows).map(|_| next()).collect();
        let v: Vec<f32> = (0..columns).map(|_| next()).collect();
        for i in 0..rows {
            for j in 0..columns {
                values[i * columns + j] += u[i] * v[j];
            }
        }
    }
}

fn write_weights(path: &Path, tensors: &Tensors, dtype: Dtype) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| {
            let bytes = match dtype {
                Dtype::BF16 => values
                    .iter()
                    .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                    .collect(),
                _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            };
            (name, bytes)
        })
        .collect();
    let views: HashMap<&String, TensorView<'_>> = bytes
        .iter()
        .map(|(&name, data)| {
            (
                name,
                TensorView::new(dtype, tensors[name].0.clone(), data).expect("view"),
            )
        })
        .collect();
    safetensors::serialize_to_file(views, None, path).expect("written");
}

fn model(tensors: &Tensors) -> TempDir {
    model_with(
        tensors,
        r#"{"model_type": "llama", "rope_theta": 10000.0}"#,
        Dtype::F32,
    )
}

fn model_with(tensors: &Tensors, config: &str, dtype: Dtype) -> TempDir {
    let dir = TempDir::new().expect("folder");
    std::fs::write(dir.path().join("config.json"), config).expect("config");
    write_weights(&dir.path().join("model.safetensors"), tensors, dtype);
    dir
}

fn adapt(base: &Tensors, tuned: &Tensors) -> Result<forkscope_train::Adapter, TrainError> {
    low_rank_adapter(
        model(base).path(),
        model(tuned).path(),
        Cut::default(),
        RankPlan::PerModule,
    )
}

/// Base plus the saved adapter, merged as PEFT merges.
fn merged(base: &Tensors, dir: &Path) -> Tensors {
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("adapter_config.json")).expect("config"))
            .expect("JSON");
    let bytes = std::fs::read(dir.join("adapter_model.safetensors")).expect("weights");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |name: &str| -> (Vec<usize>, Vec<f32>) {
        let view = file.tensor(name).expect("tensor");
        let values = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        (view.shape().to_vec(), values)
    };
    let mut out = base.clone();
    for name in file.names().iter().filter(|n| n.ends_with("lora_A.weight")) {
        let module = name
            .strip_prefix("base_model.model.")
            .and_then(|n| n.strip_suffix(".lora_A.weight"))
            .expect("layout of PEFT");
        let (a_shape, a) = floats(name);
        let (b_shape, b) = floats(&name.replace("lora_A", "lora_B"));
        let rank = a_shape[0];
        assert_eq!(b_shape[1], rank);
        let number = |pattern: &str, common: &str| {
            config[pattern]
                .get(module)
                .unwrap_or(&config[common])
                .as_f64()
                .expect("number")
        };
        assert_eq!(number("rank_pattern", "r") as usize, rank, "{module}");
        let scaling = number("alpha_pattern", "lora_alpha") / rank as f64;
        let (shape, values) = out.get_mut(&format!("{module}.weight")).expect("module");
        for i in 0..shape[0] {
            for j in 0..shape[1] {
                let product: f64 = (0..rank)
                    .map(|k| f64::from(b[i * rank + k]) * f64::from(a[k * shape[1] + j]))
                    .sum();
                values[i * shape[1] + j] += (scaling * product) as f32;
            }
        }
    }
    out
}

fn far(a: &Tensors, b: &Tensors) -> f32 {
    a.iter()
        .flat_map(|(name, (_, values))| values.iter().zip(&b[name].1).map(|(x, y)| (x - y).abs()))
        .fold(0.0, f32::max)
}

#[test]
fn a_planted_difference_comes_back_with_its_ranks() {
    let base = base();
    let mut tuned = base.clone();
    plant(&mut tuned, Q0, 2, 11);
    plant(&mut tuned, Q1, 2, 12);
    plant(&mut tuned, DOWN0, 3, 13);
    let adapter = adapt(&base, &tuned).expect("adapter");
    let ranks: Vec<usize> = adapter.modules.iter().map(|m| m.factors.rank).collect();
    assert_eq!(ranks, [3, 2, 2]);
    assert!(adapter.residual() < 1e-6, "{}", adapter.residual());

    let out = TempDir::new().expect("folder");
    adapter.save(out.path()).expect("saved");
    let error = far(&merged(&base, out.path()), &tuned);
    assert!(error < 3e-7, "merged weights are {error} off");
    assert!(f64::from(error) <= adapter.max_error() + 1.3e-7);
}

#[test]
fn one_common_rank_is_the_largest_needed() {
    let base = base();
    let mut tuned = base.clone();
    plant(&mut tuned, Q0, 1, 11);
    plant(&mut tuned, DOWN0, 4, 13);
    let adapter = low_rank_adapter(
        model(&base).path(),
        model(&tuned).path(),
        Cut::default(),
        RankPlan::Common,
    )
    .expect("adapter");
    assert!(adapter.modules.iter().all(|m| m.factors.rank == 4));
    assert_eq!(adapter.unchanged, ["model.layers.1.self_attn.q_proj"]);

    let out = TempDir::new().expect("folder");
    adapter.save(out.path()).expect("saved");
    assert!(far(&merged(&base, out.path()), &tuned) < 3e-7);
    let text = std::fs::read_to_string(out.path().join("adapter_config.json")).expect("config");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // q_proj is adapted in one layer of two: by its full name, so that a
    // loader puts no untrained pair on the other.
    assert_eq!(
        config["target_modules"],
        serde_json::json!(["down_proj", "model.layers.0.self_attn.q_proj"])
    );
    assert_eq!(config["r"], config["lora_alpha"]);
}

#[test]
fn equal_input_gives_equal_bytes() {
    let base = base();
    let mut tuned = base.clone();
    plant(&mut tuned, Q0, 2, 11);
    let bytes = || {
        let out = TempDir::new().expect("folder");
        adapt(&base, &tuned)
            .expect("adapter")
            .save(out.path())
            .expect("saved");
        std::fs::read(out.path().join("adapter_model.safetensors")).expect("weights")
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn shards_and_bf16_are_read() {
    // Multiples of 1/8 below 2 are exact in bf16.
    let coarse = |t: Tensors| -> Tensors {
        t.into_iter()
            .map(|(n, (s, v))| {
                (
                    n,
                    (s, v.into_iter().map(|x| (x * 4.0).round() / 8.0).collect()),
                )
            })
            .collect()
    };
    let base = coarse(base());
    let mut tuned = base.clone();
    for value in &mut tuned.get_mut(Q0).expect("tensor").1[..10] {
        *value += 0.5;
    }
    let from = model_with(&base, "{}", Dtype::BF16);
    let to = model_with(&tuned, "{}", Dtype::F32);
    let whole = to.path().join("model.safetensors");
    std::fs::remove_file(whole).expect("removed");
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tuned.iter().enumerate() {
        let shard = format!("model-{i}.safetensors");
        write_weights(
            &to.path().join(&shard),
            &Tensors::from([(name.clone(), tensor.clone())]),
            Dtype::BF16,
        );
        map.insert(name.clone(), shard.into());
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(
        to.path().join("model.safetensors.index.json"),
        index.to_string(),
    )
    .expect("index");
    let adapter = low_rank_adapter(from.path(), to.path(), Cut::default(), RankPlan::PerModule)
        .expect("adapter");
    assert_eq!(adapter.modules.len(), 1);
    assert_eq!(adapter.rank(), 1);
}

#[test]
fn what_an_adapter_cannot_carry_is_refused_by_name() {
    let base = base();
    let mut tuned = base.clone();
    plant(&mut tuned, Q0, 2, 11);
    tuned.get_mut(NORM).expect("tensor").1[3] += 1.0;
    tuned.insert("lm_head.weight".into(), (vec![2, 2], vec![0.0; 4]));
    tuned.insert(DOWN0.into(), (vec![10, 15], vec![0.0; 150]));
    let message = adapt(&base, &tuned).expect_err("refused").to_string();
    for part in [
        "model.norm.weight (values)",
        "lm_head.weight (missing in the base model)",
        "model.layers.0.mlp.down_proj.weight (shape [10, 16] and [10, 15])",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn configs_that_compute_differently_are_refused() {
    let tensors = base();
    let a = model_with(
        &tensors,
        r#"{"rope_theta": 10000.0, "use_cache": true}"#,
        Dtype::F32,
    );
    let b = model_with(
        &tensors,
        r#"{"rope_theta": 500000.0, "use_cache": false}"#,
        Dtype::F32,
    );
    let message = low_rank_adapter(a.path(), b.path(), Cut::default(), RankPlan::Common)
        .expect_err("refused")
        .to_string();
    assert!(
        message.contains("`rope_theta`") && !message.contains("use_cache"),
        "{message}"
    );
}

#[test]
fn a_difference_of_full_rank_is_refused_with_its_residual() {
    let base = base();
    let mut tuned = base.clone();
    plant(&mut tuned, DOWN0, 10, 13);
    let cut = Cut {
        max_rank: 4,
        ..Cut::default()
    };
    match low_rank_adapter(
        model(&base).path(),
        model(&tuned).path(),
        cut,
        RankPlan::Common,
    ) {
        Err(TrainError::NotLowRank {
            module,
            residual,
            max_rank: 4,
            ..
        }) => {
            assert_eq!(module, "model.layers.0.mlp.down_proj");
            assert!(residual > 0.05 && residual < 1.0, "{residual}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn hostile_input_is_refused_with_words() {
    let good = base();
    let mut nan = good.clone();
    nan.get_mut(Q0).expect("tensor").1[0] = f32::NAN;
    let mut flat = good.clone();
    flat.get_mut(Q0).expect("tensor").0 = vec![120];
    let refused =
        |base: &Tensors, tuned: &Tensors| adapt(base, tuned).expect_err("refused").to_string();
    assert!(refused(&good, &nan).contains("NaN"));
    assert!(refused(&flat, &flat).contains("a matrix is needed"));
    assert!(refused(&good, &good).contains("identical"));

    let dir = model(&good);
    let open = |base: &Path| {
        low_rank_adapter(base, dir.path(), Cut::default(), RankPlan::Common)
            .expect_err("refused")
            .to_string()
    };
    assert!(open(Path::new("no/such/folder")).contains("config.json"));

    let cut_off = model(&good);
    let path = cut_off.path().join("model.safetensors");
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    assert!(open(cut_off.path()).contains("not a whole safetensors file"));
    std::fs::write(&path, b"").expect("written");
    assert!(open(cut_off.path()).contains("model.safetensors"));
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(
        cut_off.path().join("model.safetensors.index.json"),
        r#"{"weight_map": {"x": "../x.safetensors"}}"#,
    )
    .expect("written");
    assert!(open(cut_off.path()).contains("not a file of this directory"));

    let zero = Cut {
        max_rank: 0,
        ..Cut::default()
    };
    let none = Cut {
        tolerance: f64::NAN,
        ..Cut::default()
    };
    for cut in [zero, none] {
        assert!(matches!(
            low_rank_adapter(dir.path(), dir.path(), cut, RankPlan::Common),
            Err(TrainError::Setting(_))
        ));
    }
}
