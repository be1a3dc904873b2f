//! Keeping held-out problems out of the training data.

use std::collections::{BTreeMap, HashMap};

use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Problem, ProblemPrompt};

use crate::TrainError;

/// Refuses held-out problems of which one is among the training problems, by
/// its text or by an id of its own.
///
/// Texts are compared without regard to white space. An id that is merely the
/// row's number is no evidence: files without ids number their rows so.
pub fn refuse_shared(held_out: &[Problem], training: &[Problem]) -> Result<(), TrainError> {
    let own_id = |i: usize, p: &Problem| (p.id != i.to_string()).then(|| p.id.clone());
    let mut ids = HashMap::new();
    let mut texts = HashMap::new();
    for (i, problem) in training.iter().enumerate() {
        if let Some(id) = own_id(i, problem) {
            ids.insert(id, &problem.id);
        }
        texts.insert(text_of(&problem.prompt), &problem.id);
    }
    for (i, problem) in held_out.iter().enumerate() {
        let by_id = own_id(i, problem).and_then(|id| ids.get(&id));
        let by_text = texts.get(&text_of(&problem.prompt));
        let (what, training) = match (by_id, by_text) {
            (Some(id), _) => ("id", id),
            (None, Some(id)) => ("text", id),
            (None, None) => continue,
        };
        return Err(TrainError::Setting(format!(
            "held-out problem `{}` has the {what} of training problem `{}`; a checkpoint must be chosen on problems that it was not trained on, take the problem out of one of the two files",
            problem.id.escape_debug(),
            training.escape_debug()
        )));
    }
    Ok(())
}

/// As [`refuse_shared`] for training data that are token ids: refuses held-out
/// problems whose prompt begins one of the training sequences.
pub fn refuse_shared_prompts<'t>(
    held_out: &[SamplePrompt],
    training: impl IntoIterator<Item = &'t [u32]>,
) -> Result<(), TrainError> {
    let mut prompts: BTreeMap<usize, HashMap<&[u32], &str>> = BTreeMap::new();
    for prompt in held_out.iter().filter(|p| !p.ids.is_empty()) {
        let of_length = prompts.entry(prompt.ids.len()).or_default();
        of_length.insert(&prompt.ids, &prompt.problem_id);
    }
    for (row, ids) in training.into_iter().enumerate() {
        let found = prompts.iter().find_map(|(length, of_length)| {
            let head = ids.get(..*length)?;
            of_length.get(head).copied()
        });
        if let Some(problem) = found {
            return Err(TrainError::Setting(format!(
                "training example {row} (from 0) begins with the prompt of held-out problem `{}`; a checkpoint must be chosen on problems that it was not trained on, take the problem out of one of the two files",
                problem.escape_debug()
            )));
        }
    }
    Ok(())
}

/// All that is said, white space as one blank.
fn text_of(prompt: &ProblemPrompt) -> String {
    let mut words: Vec<&str> = Vec::new();
    match prompt {
        ProblemPrompt::Text(text) => words.extend(text.split_whitespace()),
        // What the user says is the problem; a system line says how to answer.
        ProblemPrompt::Messages(messages) => {
            for message in messages.iter().filter(|m| m.role != "system") {
                words.extend(message.content.split_whitespace());
            }
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkscope_records::types::Message;

    fn problem(id: &str, text: &str) -> Problem {
        Problem {
            id: id.into(),
            prompt: ProblemPrompt::Text(text.into()),
            answer: Some("07".into()),
            category: None,
        }
    }

    #[test]
    fn a_shared_problem_is_named() {
        let training = [problem("a", "one plus one"), problem("b", "two")];
        let said =
            |held_out: &[Problem]| refuse_shared(held_out, &training).map_err(|e| e.to_string());
        assert_eq!(said(&[problem("c", "three")]), Ok(()));
        let by_id = said(&[problem("c", "three"), problem("b", "four")]).unwrap_err();
        assert!(
            by_id.contains("`b`") && by_id.contains("the id of"),
            "{by_id}"
        );
        let by_text = said(&[problem("c", "one  plus\none ")]).unwrap_err();
        assert!(
            by_text.contains("`c`") && by_text.contains("text of training problem `a`"),
            "{by_text}"
        );
        let asked = ProblemPrompt::Messages(vec![
            Message {
                role: "system".into(),
                content: "be brief".into(),
            },
            Message {
                role: "user".into(),
                content: "two".into(),
            },
        ]);
        let chat = Problem {
            prompt: asked,
            ..problem("d", "")
        };
        assert!(said(&[chat]).is_err());
    }

    #[test]
    fn row_numbers_are_no_ids() {
        let training = [problem("0", "one"), problem("1", "two")];
        assert!(refuse_shared(&[problem("0", "three"), problem("1", "four")], &training).is_ok());
        assert!(refuse_shared(&[problem("0", "two")], &training).is_err());
    }

    #[test]
    fn a_prompt_that_begins_an_example_is_named() {
        let prompt = |id: &str, ids: &[u32]| SamplePrompt {
            problem_id: id.into(),
            ids: ids.to_vec(),
            stop: Vec::new(),
            eos: Vec::new(),
        };
        let held_out = [
            prompt("a", &[1, 2]),
            prompt("b", &[3, 4, 5]),
            prompt("c", &[]),
        ];
        let said = |rows: &[&[u32]]| {
            refuse_shared_prompts(&held_out, rows.iter().copied()).map_err(|e| e.to_string())
        };
        assert_eq!(said(&[&[1], &[2, 1, 2], &[3, 4]]), Ok(()));
        let error = said(&[&[9], &[3, 4, 5, 6]]).unwrap_err();
        assert!(
            error.contains("example 1") && error.contains("`b`"),
            "{error}"
        );
    }
}
