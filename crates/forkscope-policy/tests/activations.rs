//! Capture, steering and patching: against transformers with forward hooks, and
//! the identities that hold bit for bit.

mod common;

use common::*;
use forkscope_policy::{
    ActivationRequest, ActivationRows, Activations, Patch, PatchRequest, Policy, PromptGroup,
    SamplePrompt, SampleSettings, Sampling, Site, Sites, SteeredRows, Steering, Variant,
};

/// max |difference| in f32, as for logits.
const TOLERANCE: f32 = 2e-4;

struct Case {
    name: String,
    policy: Policy,
    ids: Vec<u32>,
    prompt_len: usize,
    row: usize,
    golden: std::path::PathBuf,
}

fn golden_cases() -> Vec<Case> {
    cases("hooks")
        .iter()
        .map(|case| {
            let dir = fixtures().join(text(case, "dir"));
            let base = fixtures().join(text(case, "base")).display().to_string();
            let spec = match case["adapter"].as_str() {
                Some(adapter) => format!("{base}+{}", fixtures().join(adapter).display()),
                None => base,
            };
            let golden = json(&dir.join("golden.json"));
            let number = |field: &str| golden[field].as_u64().unwrap() as usize;
            Case {
                name: text(case, "name").into(),
                policy: Policy::open(&spec).unwrap(),
                ids: ids(&golden["input_ids"]),
                prompt_len: number("prompt_len"),
                row: number("row"),
                golden: dir.join("golden.safetensors"),
            }
        })
        .collect()
}

impl Case {
    fn golden(&self, name: &str) -> Vec<f32> {
        tensor(&self.golden, name)
    }

    fn every_row(&self) -> Activations {
        let request = ActivationRequest {
            ids: &self.ids,
            prompt_len: self.prompt_len,
            rows: ActivationRows::At((0..self.ids.len()).collect()),
        };
        self.policy
            .activations(&[request], &Sites::all(&self.policy))
            .unwrap()
    }

    fn patched(&self, variants: Vec<Variant<'_>>) -> Vec<f32> {
        let request = PatchRequest {
            ids: &self.ids,
            prompt_len: self.prompt_len,
            variants,
        };
        let rows = self.policy.patched_rows(&[request]).unwrap();
        logits_of(&self.policy, &rows.values)
    }

    fn steered(&self, layer: usize, vector: &[f32], rows: SteeredRows) -> Policy {
        self.policy
            .steered(Steering {
                layer,
                vector: vector.to_vec(),
                scale: 1.0,
                rows,
            })
            .unwrap()
    }
}

fn logits_of(policy: &Policy, hidden: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    policy.logits(hidden, &mut out);
    out
}

fn as_patch<'a>((site, row, values): &(Site, usize, &'a [f32])) -> Patch<'a> {
    Patch {
        site: *site,
        row: *row,
        values,
    }
}

fn bits(rows: &[f32]) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

fn close(name: &str, ours: &[f32], golden: &[f32]) {
    assert_eq!(ours.len(), golden.len(), "{name}");
    let scale = golden.iter().fold(1.0f32, |m, x| m.max(x.abs()));
    let error = worst(ours, golden);
    assert!(
        error <= TOLERANCE * scale.max(1.0),
        "{name}: {error:e} of {scale}"
    );
}

#[test]
fn residuals_and_heads_are_those_of_transformers() {
    for case in golden_cases() {
        let found = case.every_row();
        let (residual, heads) = (case.golden("residual"), case.golden("heads"));
        let (n, d, w) = (case.ids.len(), found.width, found.heads * found.head_dim);
        for row in 0..n {
            for layer in 0..=case.policy.config().layers {
                let golden = &residual[(layer * n + row) * d..][..d];
                close(&case.name, found.layer(row, layer).unwrap(), golden);
            }
            for block in 1..=case.policy.config().layers {
                let golden = &heads[((block - 1) * n + row) * w..][..w];
                close(&case.name, found.block(row, block).unwrap(), golden);
                let last = found.head(row, block, found.heads - 1).unwrap();
                assert_eq!(
                    last,
                    &found.block(row, block).unwrap()[w - found.head_dim..]
                );
            }
        }
    }
}

#[test]
fn steered_logits_are_those_of_transformers() {
    for case in golden_cases() {
        let vector = case.golden("vector");
        let vocab = case.policy.vocab_size();
        let (n, layers) = (case.ids.len(), case.policy.config().layers);
        for (name, rows) in [
            ("steered", SteeredRows::All),
            ("steered_completion", SteeredRows::Completion),
        ] {
            let golden = case.golden(name);
            for layer in 0..=layers {
                let policy = case.steered(layer, &vector, rows);
                let (prompt, completion) = case.ids.split_at(case.prompt_len);
                let ours = logits_after(&policy, prompt, completion);
                let from = (layer * n + case.prompt_len - 1) * vocab;
                close(&case.name, &ours, &golden[from..from + ours.len()]);
            }
        }
    }
}

#[test]
fn patched_logits_are_those_of_transformers() {
    for case in golden_cases() {
        let rows: Vec<usize> = (case.row..case.ids.len()).collect();
        let (residual, head) = (case.golden("row_values"), case.golden("head_values"));
        let c = case.policy.config();
        let variant = |site, values| Variant {
            patches: vec![Patch {
                site,
                row: case.row,
                values,
            }],
            rows: rows.clone(),
        };
        let layers = (0..=c.layers).map(|layer| variant(Site::Residual { layer }, &residual[..]));
        close(
            &case.name,
            &case.patched(layers.collect()),
            &case.golden("patched_residual"),
        );
        let heads = (1..=c.layers)
            .flat_map(|block| (0..c.heads).map(move |head| Site::Head { block, head }))
            .map(|site| variant(site, &head[..]));
        close(
            &case.name,
            &case.patched(heads.collect()),
            &case.golden("patched_heads"),
        );
    }
}

#[test]
fn patching_with_own_values_keeps_every_bit() {
    for case in golden_cases() {
        let own = case.every_row();
        let untouched = case
            .policy
            .hidden_rows(&[PromptGroup {
                prompt: &case.ids[..3],
                completions: vec![&[&case.ids[3..], &[0]].concat()],
            }])
            .unwrap();
        let c = case.policy.config();
        let wanted: Vec<usize> = (2..case.ids.len()).collect();
        let mut patches = Vec::new();
        for row in 2..case.ids.len() {
            for layer in 0..=c.layers {
                let values = own.layer(row, layer).unwrap();
                patches.push((Site::Residual { layer }, row, values));
            }
            for block in 1..=c.layers {
                for head in 0..c.heads {
                    let values = own.head(row, block, head).unwrap();
                    patches.push((Site::Head { block, head }, row, values));
                }
            }
        }
        let all = Variant {
            patches: patches.iter().map(as_patch).collect(),
            rows: wanted,
        };
        let logits = logits_of(&case.policy, &untouched.values);
        assert_eq!(
            bits(&case.patched(vec![all])),
            bits(&logits),
            "{}",
            case.name
        );
        let last = case.ids.len() - 1;
        let each = patches.iter().map(|p| Variant {
            patches: vec![as_patch(p)],
            rows: vec![last],
        });
        let vocab = case.policy.vocab_size();
        let expected = bits(&logits[logits.len() - vocab..]);
        for found in case.patched(each.collect()).chunks(vocab) {
            assert_eq!(bits(found), expected, "{}", case.name);
        }
    }
}

#[test]
fn the_last_layer_of_the_tuned_gives_its_logits_to_the_base() {
    let cases = golden_cases();
    let (base, tuned) = (&cases[0], &cases[4]);
    assert!(tuned.name.contains('+'));
    let row = base.ids.len() - 1;
    let request = ActivationRequest::last(&base.ids);
    let seen = tuned
        .policy
        .activations(&[request], &Sites::all(&tuned.policy))
        .unwrap();
    let layer = tuned.policy.config().layers;
    let patched = base.patched(vec![Variant {
        patches: vec![Patch {
            site: Site::Residual { layer },
            row,
            values: seen.layer(0, layer).unwrap(),
        }],
        rows: vec![row],
    }]);
    let completion = [&base.ids[1..], &[0]].concat();
    let own = logits_after(&tuned.policy, &base.ids[..1], &completion);
    assert_eq!(bits(&patched), bits(&own[own.len() - patched.len()..]));
    assert_ne!(
        bits(&patched),
        bits(&logits_after(&base.policy, &base.ids[..1], &completion)[own.len() - patched.len()..])
    );
}

#[test]
fn a_zero_vector_keeps_every_bit_and_opposite_ones_nearly() {
    for case in golden_cases() {
        let zero = case.steered(
            1,
            &vec![0.0; case.policy.config().hidden_size],
            SteeredRows::All,
        );
        assert!(!zero.is_steered());
        let plain = bits(&teacher_forced(&case.policy, &case.ids));
        assert_eq!(bits(&teacher_forced(&zero, &case.ids)), plain);
        let vector = case.golden("vector");
        let there = case.steered(1, &vector, SteeredRows::All);
        assert!(there.is_steered());
        assert_ne!(bits(&teacher_forced(&there, &case.ids)), plain);
        let back = there
            .steered(Steering {
                layer: 1,
                vector,
                scale: -1.0,
                rows: SteeredRows::All,
            })
            .unwrap();
        let (a, b) = (
            teacher_forced(&back, &case.ids),
            teacher_forced(&case.policy, &case.ids),
        );
        assert!(worst(&a, &b) < 1e-3, "{}", case.name);
    }
}

#[test]
fn sampling_scoring_growing_and_capturing_are_steered_alike() {
    for case in golden_cases() {
        for rows in [SteeredRows::All, SteeredRows::Completion] {
            let policy = case.steered(1, &case.golden("vector"), rows);
            let (prompt, completion) = case.ids.split_at(case.prompt_len);
            let scored = logits_after(&policy, prompt, completion);

            let mut grown = policy.sequences();
            let id = grown.open(&[prompt]).unwrap()[0];
            let (mut logits, mut all) = (Vec::new(), Vec::new());
            for token in completion {
                grown.logits(&[id], &mut logits).unwrap();
                all.extend_from_slice(&logits);
                grown.extend(&[(id, &[*token])]).unwrap();
            }
            assert_eq!(bits(&all), bits(&scored), "{} grown", case.name);

            let request = ActivationRequest {
                ids: &case.ids,
                prompt_len: case.prompt_len,
                rows: ActivationRows::At((case.prompt_len - 1..case.ids.len() - 1).collect()),
            };
            let layer = policy.config().layers;
            let sites = Sites {
                layers: vec![layer],
                blocks: vec![],
            };
            let seen = policy
                .activations(std::slice::from_ref(&request), &sites)
                .unwrap();
            let variants = (0..completion.len())
                .map(|i| Variant {
                    patches: vec![Patch {
                        site: Site::Residual { layer },
                        row: case.prompt_len - 1 + i,
                        values: seen.layer(i, layer).unwrap(),
                    }],
                    rows: vec![case.prompt_len - 1 + i],
                })
                .collect();
            let request = PatchRequest {
                ids: &case.ids,
                prompt_len: case.prompt_len,
                variants,
            };
            let patched = policy.patched_rows(&[request]).unwrap();
            assert_eq!(
                bits(&logits_of(&policy, &patched.values)),
                bits(&scored),
                "{}",
                case.name
            );

            let prompt = SamplePrompt {
                problem_id: "0".into(),
                ids: prompt.to_vec(),
                stop: vec![],
                eos: vec![],
            };
            let settings = SampleSettings {
                sampling: Sampling::default(),
                n: 3,
                max_tokens: 12,
                seed: 5,
                skip: 0,
                max_len: usize::MAX,
                interrupted: || false,
                width: None,
            };
            let mut done = Vec::new();
            policy
                .sample(std::slice::from_ref(&prompt), &settings, &mut |c| {
                    done.push(c);
                    true
                })
                .unwrap();
            for c in done {
                let logits = logits_after(&policy, &prompt.ids, &c.ids);
                let rows = forkscope_metrics::score_rows(&logits, policy.vocab_size(), &c.ids, 0);
                let rows: Vec<f32> = rows.unwrap().iter().map(|r| r.logprob as f32).collect();
                assert_eq!(bits(&c.logprobs), bits(&rows), "{} sampled", case.name);
            }
        }
    }
}

#[test]
fn means_and_companions_and_threads() {
    let case = &golden_cases()[0];
    let every = case.every_row();
    let other: Vec<u32> = case.ids.iter().rev().copied().collect();
    let request = |ids, rows| ActivationRequest {
        ids,
        prompt_len: 1,
        rows,
    };
    let requests = [
        request(&other[..], ActivationRows::Last),
        request(&case.ids[..], ActivationRows::MeanOf(2..6)),
        request(&case.ids[..], ActivationRows::MeanAt(vec![5, 4, 3, 2])),
        request(&case.ids[..], ActivationRows::At(vec![7, 3])),
    ];
    let run = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| {
                case.policy
                    .activations(&requests, &Sites::all(&case.policy))
                    .unwrap()
            })
    };
    let found = run(1);
    assert_eq!(found, run(2));
    assert_eq!(found.results, [0..1, 1..2, 2..3, 3..5]);
    for layer in 0..=case.policy.config().layers {
        let mean: Vec<f32> = (0..found.width)
            .map(|i| {
                let sum: f64 = (2..6)
                    .map(|r| f64::from(every.layer(r, layer).unwrap()[i]))
                    .sum();
                (sum / 4.0) as f32
            })
            .collect();
        assert_eq!(bits(found.layer(1, layer).unwrap()), bits(&mean));
        assert_eq!(found.layer(1, layer), found.layer(2, layer));
        assert_eq!(found.layer(3, layer), every.layer(7, layer));
        assert_eq!(found.layer(4, layer), every.layer(3, layer));
    }
    assert_eq!(found.block(4, 1), every.block(3, 1));
    assert_eq!(found.block(3, 0), None);
    assert_eq!(found.layer(5, 0), None);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let case = &golden_cases()[0];
    let d = case.policy.config().hidden_size;
    let steer = |layer, vector: Vec<f32>, scale| {
        let rows = SteeredRows::All;
        case.policy
            .steered(Steering {
                layer,
                vector,
                scale,
                rows,
            })
            .map(|_| ())
    };
    let capture = |rows, layers: Vec<usize>, blocks: Vec<usize>| {
        let request = ActivationRequest {
            ids: &case.ids,
            prompt_len: 1,
            rows,
        };
        case.policy
            .activations(&[request], &Sites { layers, blocks })
            .map(|_| ())
    };
    let patch = |site, row, values: &[f32], rows: Vec<usize>| {
        let variants = vec![Variant {
            patches: vec![Patch { site, row, values }],
            rows,
        }];
        let request = PatchRequest {
            ids: &case.ids,
            prompt_len: 1,
            variants,
        };
        case.policy.patched_rows(&[request]).map(|_| ())
    };
    let residual = Site::Residual { layer: 1 };
    let (one, nan) = (vec![1.0; d], vec![f32::NAN; d]);
    let refused = [
        (steer(99, one.clone(), 1.0), "layer 99"),
        (steer(1, vec![1.0], 1.0), "has 1 values"),
        (steer(1, nan.clone(), 1.0), "NaN"),
        (steer(1, vec![0.0; d], f32::INFINITY), "NaN or infinite"),
        (steer(1, vec![1e30; d], 1e30), "NaN or infinite"),
        (
            capture(ActivationRows::At(vec![20]), vec![0], vec![]),
            "row 20",
        ),
        (
            capture(ActivationRows::MeanOf(4..99), vec![0], vec![]),
            "row 98",
        ),
        (
            capture(ActivationRows::MeanOf(4..4), vec![0], vec![]),
            "no row",
        ),
        (
            capture(ActivationRows::MeanAt(vec![]), vec![0], vec![]),
            "no row",
        ),
        (capture(ActivationRows::Last, vec![3], vec![]), "layer 3"),
        (capture(ActivationRows::Last, vec![], vec![0]), "block 0"),
        (patch(residual, 2, &one[1..], vec![3]), "values"),
        (patch(residual, 2, &nan, vec![3]), "NaN"),
        (patch(residual, 20, &one, vec![20]), "row 20"),
        (patch(residual, 2, &one, vec![1]), "before its first patch"),
        (patch(residual, 2, &one, vec![]), "no row"),
        (
            patch(Site::Residual { layer: 3 }, 2, &one, vec![2]),
            "layer: 3",
        ),
        (
            patch(Site::Head { block: 1, head: 4 }, 2, &one[..8], vec![2]),
            "head: 4",
        ),
        (
            patch(Site::Head { block: 0, head: 0 }, 2, &one[..8], vec![2]),
            "block: 0",
        ),
    ];
    for (result, words) in refused {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{message}");
    }
    let nothing = ActivationRequest::last(&[]);
    assert!(
        case.policy
            .activations(&[nothing], &Sites::default())
            .is_err()
    );
    assert!(
        case.policy
            .activations(&[], &Sites::all(&case.policy))
            .unwrap()
            .is_empty()
    );
}
