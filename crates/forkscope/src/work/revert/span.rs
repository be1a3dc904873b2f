//! Where the user's text is in prompts, and which ids may be added to it.

use forkscope_records::types::Problem;

use super::Asked;
use crate::failure::Failure;
use crate::work::models::Named;

/// Ids before and behind the user's text: what all prompts have in common at
/// either end.
pub fn around(named: &Named, asked: Asked<'_>) -> Result<(usize, usize), Failure> {
    let prompts = asked.prompts.prompts.iter();
    let all: Vec<&[u32]> = prompts.map(|p| p.ids.as_slice()).collect();
    let Some((first, rest)) = all.split_first() else {
        return Ok((0, 0));
    };
    let (mut head, mut tail) = (first.len(), first.len());
    for other in rest {
        head = head.min(common(first.iter(), other.iter()));
        tail = tail.min(common(first.iter().rev(), other.iter().rev()));
    }
    if rest.is_empty() {
        // One prompt has no end in common with others: its text is everything
        // that a tokenizer does not put there by itself.
        let special = |id: &&u32| {
            let text = named.policy.text();
            text.is_some_and(|t| t.tokenizer.is_special(**id))
        };
        head = first.iter().take_while(special).count();
        tail = first.iter().rev().take_while(special).count();
    }
    Ok((head, tail.min(first.len() - head)))
}

fn common<'i>(a: impl Iterator<Item = &'i u32>, b: impl Iterator<Item = &'i u32>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// Ids that both policies have and that are no special tokens.
pub fn allowed(named: &Named, shared: usize) -> Vec<u32> {
    let Some(text) = named.policy.text() else {
        return Vec::new();
    };
    let special = &text.special;
    let last = text.tokenizer.vocab_size().min(shared) as u32;
    let plain = |id: &u32| {
        let tokenizer = &text.tokenizer;
        !tokenizer.is_special(*id) && !special.eos.contains(id) && tokenizer.piece(*id).is_some()
    };
    (0..last).filter(plain).collect()
}

/// Refuses problems that cannot be graded where that is what is looked for.
pub fn check_answers(problems: &[Problem], path: &std::path::Path) -> Result<(), Failure> {
    match problems.iter().any(|p| p.answer.is_some()) {
        true => Ok(()),
        false => Err(Failure::Input(format!(
            "{}: none of the {} problems has an `answer`, so that nothing can be graded; add the field, or choose another --behaviour",
            path.display(),
            problems.len()
        ))),
    }
}
