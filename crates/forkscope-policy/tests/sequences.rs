//! Sequences that grow token by token have the bits of scoring them whole,
//! however they were forked, mixed and cut; what cannot grow is refused and
//! leaves the others as they were.

mod common;

use common::*;
use forkscope_policy::{Policy, PolicyError, SequenceId, Sequences};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const MODELS: [&str; 4] = [
    "models/llama-default",
    "models/mistral",
    "models/qwen3",
    "models/qwen2",
];

fn open(name: &str) -> Result<(Policy, Vec<u32>)> {
    let dir = fixtures().join(name);
    let policy = Policy::open(&dir.to_string_lossy())?;
    Ok((policy, ids(&json(&dir.join("golden.json"))["input_ids"])))
}

fn next(sequences: &Sequences<'_>, id: SequenceId) -> Result<Vec<u32>> {
    let mut out = Vec::new();
    sequences.logits(&[id], &mut out)?;
    Ok(out.iter().map(|x| x.to_bits()).collect())
}

/// Logits after all of `ids`, by scoring.
fn scored(policy: &Policy, ids: &[u32]) -> Vec<u32> {
    let mut longer = ids.to_vec();
    longer.push(0);
    let rows = logits_after(policy, ids, &longer[ids.len()..]);
    rows.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn growing_has_the_bits_of_scoring() -> Result {
    for name in MODELS {
        let (policy, ids) = open(name)?;
        let mut all = policy.sequences();
        let opened = all.open(&[&ids[..5], &ids[3..4], &ids[..9]])?;
        let mut texts = [ids[..5].to_vec(), ids[3..4].to_vec(), ids[..9].to_vec()];
        for step in 0..6 {
            for (id, text) in opened.iter().zip(&texts) {
                assert_eq!(next(&all, *id)?, scored(&policy, text), "{name} {step}");
                assert_eq!(all.len(*id), text.len());
            }
            // One, two and three tokens at once, in another order.
            let more: Vec<Vec<u32>> = (0..3).map(|i| ids[step..step + 1 + i].to_vec()).collect();
            let grown: Vec<(SequenceId, &[u32])> = (0..3)
                .rev()
                .map(|i| (opened[i], more[i].as_slice()))
                .collect();
            all.extend(&grown)?;
            for (text, more) in texts.iter_mut().zip(&more) {
                text.extend(more);
            }
        }
    }
    Ok(())
}

#[test]
fn forks_part_and_leave_each_other_alone() -> Result {
    for name in MODELS {
        let (policy, ids) = open(name)?;
        let mut all = policy.sequences();
        let root = all.open(&[&ids[..6]])?[0];
        let early = all.fork(root)?;
        all.extend(&[(root, &ids[6..9])])?;
        let late = all.fork(root)?;
        all.extend(&[(late, &[1]), (early, &[2, 3]), (root, &ids[9..10])])?;
        let with = |head: &[u32], more: &[u32]| [head, more].concat();
        assert_eq!(next(&all, root)?, scored(&policy, &ids[..10]), "{name}");
        assert_eq!(
            next(&all, late)?,
            scored(&policy, &with(&ids[..9], &[1])),
            "{name}"
        );
        assert_eq!(
            next(&all, early)?,
            scored(&policy, &with(&ids[..6], &[2, 3])),
            "{name}"
        );

        // The prompt outlives the sequence that opened it; freed memory is
        // used again without a trace.
        all.close(root);
        let fresh = all.open(&[&ids[2..8]])?[0];
        all.extend(&[(early, &[4]), (fresh, &[5])])?;
        assert_eq!(
            next(&all, early)?,
            scored(&policy, &with(&ids[..6], &[2, 3, 4])),
            "{name}"
        );
        assert_eq!(
            next(&all, fresh)?,
            scored(&policy, &with(&ids[2..8], &[5])),
            "{name}"
        );
        assert_eq!(all.count(), 3);
    }
    Ok(())
}

#[test]
fn what_cannot_grow_is_refused_and_nothing_grows() -> Result {
    let (policy, ids) = open("models/llama-default")?;
    let mut all = policy.sequences();
    let id = all.open(&[&ids[..4]])?[0];
    let other = all.fork(id)?;
    let before = next(&all, id)?;
    let beyond = policy.vocab_size() as u32;
    let long = vec![1; policy.context_len()];
    let refused = [
        all.extend(&[(other, &[1]), (id, &[beyond])]),
        all.extend(&[(other, &[1]), (id, &long)]),
        all.extend(&[(id, &[1]), (id, &[2])]),
        all.open(&[&[]]).map(drop),
        all.open(&[&[beyond]]).map(drop),
    ];
    for result in refused {
        assert!(matches!(
            result,
            Err(PolicyError::Ids(_) | PolicyError::Internal(_))
        ));
    }
    assert_eq!((all.len(id), all.len(other)), (4, 4));
    assert_eq!(next(&all, id)?, before);
    all.close(other);
    assert!(all.fork(other).is_err() && all.hidden(other).is_none());
    Ok(())
}
