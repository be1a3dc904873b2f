//! Problems as prompts of a policy.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;
use forkscope_policy::hub::{HubFile, dataset_file};
use forkscope_policy::text::{Message, Prompt, PromptStyle, TemplateInputs, TextSide};
use forkscope_policy::{Policy, SamplePrompt};
use forkscope_records::digest::sha256_bytes;
use forkscope_records::import::read_problems_bytes;
use forkscope_records::types::{Problem, ProblemPrompt};

use super::models::Named;
use crate::embedded;
use crate::failure::Failure;

/// Problems of a file with its digest.
pub struct ProblemSet {
    /// In file order.
    pub problems: Vec<Problem>,
    /// SHA-256 of the file.
    pub digest: String,
}

/// Reads the first `limit` problems of a file: one that is embedded, one of a
/// dataset on the hub (`hub:datasets/org/name/file`; a file of that name wins),
/// or any other.
pub fn read(path: &Path, limit: Option<u64>) -> Result<ProblemSet, Failure> {
    let (bytes, shown) = bytes_of(path)?;
    let digest = sha256_bytes(&bytes);
    let mut problems = read_problems_bytes(bytes, shown)?;
    problems.truncate(limit.map_or(usize::MAX, |n| n as usize));
    Ok(ProblemSet { problems, digest })
}

/// The bytes of a problem file, and how messages call it.
pub fn bytes_of(path: &Path) -> Result<(Bytes, &Path), Failure> {
    let embedded = embedded::PROBLEM_SETS
        .iter()
        .find(|(spec, _)| path == Path::new(spec));
    Ok(match embedded {
        Some((_, file)) => (Bytes::from_static(file.bytes), Path::new(file.name)),
        None => (super::rollouts::bytes_of(&local(path)?)?, path),
    })
}

/// One problem in so many is held out where no file says which.
const HELD_OUT_EVERY: usize = 4;

/// Problems to learn from, and every fourth one, which is held out.
pub fn every_fourth(problems: Vec<Problem>) -> Result<(Vec<Problem>, Vec<Problem>), Failure> {
    let n = problems.len();
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for (i, problem) in problems.into_iter().enumerate() {
        match i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 {
            true => held_out.push(problem),
            false => kept.push(problem),
        }
    }
    if held_out.len() < 2 {
        return Err(Failure::Input(format!(
            "of {n} problems every fourth is held out, which are {}; give at least 8 problems, or --eval-problems",
            held_out.len()
        )));
    }
    Ok((kept, held_out))
}

/// Where a file is on this machine.
pub fn local(path: &Path) -> Result<Cow<'_, Path>, Failure> {
    let spec = path.to_str().filter(|p| p.starts_with(HubFile::SCHEME));
    match spec.filter(|_| !path.exists()) {
        Some(spec) => Ok(Cow::Owned(dataset_file(spec)?)),
        None => Ok(Cow::Borrowed(path)),
    }
}

/// Prompts with what is to be recorded of how they were made.
pub struct Prompts {
    /// In the order of the problems.
    pub prompts: Vec<SamplePrompt>,
    /// Name of the style, `auto` resolved.
    pub style: String,
    /// SHA-256 of the template, where there is one.
    pub template_hash: Option<String>,
}

/// Renders every problem for a policy.
pub fn render(
    named: &Named,
    problems: &[Problem],
    style: &PromptStyle,
    stop: &[String],
) -> Result<Prompts, Failure> {
    let text = named.policy.text();
    let text = text.ok_or_else(|| super::models::no_tokenizer(&named.spec))?;
    render_text(text, problems, style, stop)
}

/// Renders every problem by a tokenizer and its template.
pub fn render_text(
    text: &TextSide,
    problems: &[Problem],
    style: &PromptStyle,
    stop: &[String],
) -> Result<Prompts, Failure> {
    let mut out = Prompts {
        prompts: Vec::with_capacity(problems.len()),
        style: String::new(),
        template_hash: None,
    };
    for problem in problems {
        let inputs = TemplateInputs::default();
        let rendered = match &problem.prompt {
            ProblemPrompt::Text(t) => text.render(style, Prompt::Text(t), &inputs),
            ProblemPrompt::Messages(messages) => {
                let messages: Vec<Message> = messages
                    .iter()
                    .map(|m| Message::new(&m.role, &m.content))
                    .collect();
                text.render(style, Prompt::Messages(&messages), &inputs)
            }
        }
        .map_err(|e| Failure::Input(format!("problem `{}`: {e}", problem.id)))?;
        let mut stops = rendered.stop;
        stops.extend(stop.iter().cloned());
        let mut eos = text.special.eos.clone();
        eos.extend(rendered.stop_ids);
        out.style = rendered.style;
        out.template_hash = rendered.template_hash;
        out.prompts.push(SamplePrompt {
            problem_id: problem.id.clone(),
            ids: rendered.token_ids,
            stop: stops,
            eos,
        });
    }
    Ok(out)
}

impl Prompts {
    /// The prompts as rendered by `by`, for a policy with end tokens of its own.
    pub fn ended_by(&self, by: &Named, named: &Named) -> Vec<SamplePrompt> {
        let mut prompts = self.prompts.clone();
        if let (Some(by), Some(own)) = (by.policy.text(), named.policy.text()) {
            for prompt in &mut prompts {
                prompt.eos.retain(|id| !by.special.eos.contains(id));
                prompt.eos.extend(&own.special.eos);
            }
        }
        prompts
    }
}

/// Refuses prompts that a policy has no room for.
pub fn check_room(policy: &Policy, prompts: &[SamplePrompt]) -> Result<(), Failure> {
    check_context(policy.context_len(), prompts)
}

/// Refuses prompts that fill a context.
pub fn check_context(context: usize, prompts: &[SamplePrompt]) -> Result<(), Failure> {
    match prompts.iter().find(|p| p.ids.len() >= context) {
        Some(p) => Err(Failure::Input(format!(
            "the prompt of problem `{}` has {} tokens and the model's context is {context}; leave the problem out or shorten it",
            p.problem_id,
            p.ids.len()
        ))),
        None => Ok(()),
    }
}
