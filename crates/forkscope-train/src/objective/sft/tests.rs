//! The supervised loss against f64, its denominators, and its source.

use super::super::batches::Order;
use super::super::testing::{check_head, distance, examples, gradients, log_softmax, network};
use super::*;

const VOCAB: usize = 13;

fn settings(shard_rows: usize, denominator: Denominator) -> SftSettings {
    SftSettings {
        batches: BatchSettings {
            batch: 6,
            order: Order::Shuffled,
            keep_last: true,
            seed: 5,
            shard_rows,
        },
        prompt_weight: 0.1,
        denominator,
    }
}

fn source(shard_rows: usize, denominator: Denominator) -> SftSource {
    SftSource::new(
        Box::new(examples(20, VOCAB)),
        settings(shard_rows, denominator),
    )
    .unwrap()
}

#[test]
fn loss_and_gradients_are_those_of_the_formula() {
    let mut pack = Pack::default();
    let mut sites = pack.add(&[1, 5, 2, 9, 9, 12], 2).unwrap();
    sites.extend(pack.add(&[3, 0, 4], 1).unwrap());
    let weights = vec![0.5, 0.25, 2.0, 0.1, 1.0, 0.3];
    let shard = SftShard::new(pack, sites.clone(), weights.clone()).unwrap();
    let sums = check_head(&shard, 7, VOCAB, |logits| {
        let nll = |s: &Site| -log_softmax(&logits[s.row])[s.token as usize];
        sites.iter().zip(&weights).map(|(s, w)| w * nll(s)).sum()
    });
    assert_eq!(sums.get(TOKENS), 6.0);
}

#[test]
fn what_the_log_says_is_what_the_logits_say() {
    let network = network(VOCAB);
    let mut source = source(64, Denominator::Tokens);
    let step = source.step(0, &network).unwrap();
    let (mut n, mut hits, mut entropy, mut nll, mut loss) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let batch: Vec<Vec<u32>> = serde_json::from_value(step.inspect["token_ids"].clone()).unwrap();
    let prompts: Vec<usize> = serde_json::from_value(step.inspect["prompt_len"].clone()).unwrap();
    let mut weight = 0.0;
    for (ids, prompt_len) in batch.iter().zip(&prompts) {
        let mut pack = Pack::default();
        for (t, site) in (1..).zip(pack.add(ids, 1).unwrap()) {
            let w = if t < *prompt_len { 0.1 } else { 1.0 };
            let hidden = network
                .hidden(&pack, crate::engine::Which::Current)
                .unwrap();
            let mut head = Head::new(&hidden, 16, VOCAB, network.head_weight(), None);
            head.scan(&[site], |_, logits| {
                let wide: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
                let logp = log_softmax(&wide);
                let best = (0..VOCAB).max_by(|a, b| logp[*a].total_cmp(&logp[*b]));
                n += 1.0;
                hits += f64::from(best == Some(site.token as usize));
                entropy -= logp.iter().map(|l| l * l.exp()).sum::<f64>();
                nll -= logp[site.token as usize];
                loss -= w * logp[site.token as usize];
                weight += w;
            });
        }
    }
    let (_, sums) = gradients(&network, &step.shards);
    assert!((sums.get(Sums::LOSS) - loss / weight).abs() < 1e-6);
    let expected = [
        ("mean_token_accuracy", hits / n),
        ("entropy", entropy / n),
        ("nll", nll / n),
    ];
    for ((name, value), (expected, exact)) in source.after(&sums).iter().zip(expected) {
        assert_eq!(name, expected);
        assert!((value - exact).abs() < 1e-6, "{name} {value} {exact}");
    }
    let tokens: usize = batch.iter().map(Vec::len).sum();
    assert_eq!(step.tokens, tokens as u64);
    assert_eq!(step.log[0], ("num_tokens".to_owned(), tokens as f64));
}

#[test]
fn shards_change_nothing_but_rounding() {
    let network = network(VOCAB);
    for denominator in [
        Denominator::Tokens,
        Denominator::Sequences,
        Denominator::Constant(40.0),
    ] {
        let of = |shard_rows| {
            let step = source(shard_rows, denominator).step(1, &network).unwrap();
            (step.shards.len(), gradients(&network, &step.shards))
        };
        let ((one, (a, x)), (many, (b, y))) = (of(10_000), of(1));
        assert_eq!((one, many), (1, 6));
        assert!(distance(&a, &b) < 1e-6, "{}", distance(&a, &b));
        assert!((x.get(Sums::LOSS) - y.get(Sums::LOSS)).abs() < 1e-6 * x.get(Sums::LOSS));
        assert_eq!(x.get(HITS), y.get(HITS));
    }
}

#[test]
fn a_restored_source_goes_on_with_the_same_steps() {
    let network = network(VOCAB);
    let mut whole = source(64, Denominator::Tokens);
    let inspect = |s: &mut SftSource, step| {
        let step = s.step(step, &network).unwrap();
        (step.inspect, step.log)
    };
    let all: Vec<_> = (0..9).map(|i| inspect(&mut whole, i)).collect();
    let mut first = source(64, Denominator::Tokens);
    for i in 0..5 {
        inspect(&mut first, i);
    }
    let state: Value = serde_json::from_str(&first.state().to_string()).unwrap();
    let mut second = source(64, Denominator::Tokens);
    second.restore(&state).unwrap();
    for i in 5..9 {
        assert_eq!(inspect(&mut second, i), all[i as usize]);
    }
    assert_eq!(second.state(), whole.state());
    assert!(second.restore(&json!({ "next_step": 1 })).is_err());
}

#[test]
fn descent_learns_the_examples() {
    let mut network = network(VOCAB);
    let mut source = source(16, Denominator::Tokens);
    let mut losses = Vec::new();
    for i in 0..60 {
        let step = source.step(i, &network).unwrap();
        let (gradients, sums) = gradients(&network, &step.shards);
        losses.push(sums.get(Sums::LOSS));
        for (p, g) in network.parameters_mut().iter_mut().zip(&gradients.tensors) {
            p.values.iter_mut().zip(g).for_each(|(x, g)| *x -= 0.3 * g);
        }
    }
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    assert!(
        mean(&losses[50..]) < 0.8 * mean(&losses[..10]),
        "{losses:?}"
    );
}

#[test]
fn examples_that_cannot_be_learned_are_named() {
    let network = network(VOCAB);
    let refused = |example: Example| {
        let mut source = SftSource::new(Box::new(vec![example]), SftSettings::default()).unwrap();
        source.step(0, &network).err().unwrap().to_string()
    };
    let mut weighted = Example::new(&[1], &[2, 3]);
    weighted.weights = Some(vec![1.0, f32::NAN, 1.0]);
    assert!(refused(weighted.clone()).contains("weight"));
    weighted.weights = Some(vec![1.0]);
    assert!(refused(weighted).contains("1 weights for 3 tokens"));
    assert!(refused(Example::new(&[1, 2], &[])).contains("no token to learn"));
    assert!(refused(Example::new(&[], &[1])).contains("no token to learn"));
    assert!(refused(Example::new(&[1], &[99])).contains("token id 99"));
    assert!(refused(Example::new(&[1], &[2; 80])).contains("context of 64"));
    let negative = SftSettings {
        prompt_weight: -1.0,
        ..SftSettings::default()
    };
    assert!(SftSource::new(Box::new(examples(3, VOCAB)), negative).is_err());
}

#[test]
fn a_step_without_weight_has_no_shard() {
    let network = network(VOCAB);
    let mut example = Example::new(&[1], &[2, 3]);
    example.weights = Some(vec![0.0; 3]);
    let mut source = SftSource::new(Box::new(vec![example]), SftSettings::default()).unwrap();
    assert!(source.step(0, &network).unwrap().shards.is_empty());
    assert!(source.after(&Sums::default()).is_empty());
}

#[test]
fn a_broken_network_stops_the_step() {
    let mut network = network(VOCAB);
    let step = source(64, Denominator::Tokens).step(0, &network).unwrap();
    let head = network.parameters_mut().last_mut().unwrap();
    head.values[5] = f32::NAN;
    let error = network
        .gradients(&step.shards, &crate::engine::PassOptions::default())
        .unwrap_err();
    assert!(matches!(error, TrainError::NonFinite(_)), "{error}");
}

/// Example i is made from i.
struct Endless;

impl Examples for Endless {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Example, TrainError> {
        let token = (index % VOCAB as u64) as u32;
        Ok(Example::new(&[token], &vec![token; 1 + index as usize % 4]))
    }
}

#[test]
fn a_stream_is_taken_as_it_comes_and_never_ends() {
    let network = network(VOCAB);
    let mut source = SftSource::new(Box::new(Endless), settings(64, Denominator::Tokens)).unwrap();
    assert_eq!(source.steps_per_epoch(), None);
    let step = source.step(1 << 40, &network).unwrap();
    let first = 6u64 << 40;
    let expected: Vec<u64> = (first..first + 6).collect();
    assert_eq!(step.inspect["examples"], json!(expected));
    assert!(step.log.iter().all(|(name, _)| name != "epoch"));
}
