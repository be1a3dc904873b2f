//! The log-prob responses of vLLM and OpenAI-compatible servers.

use std::path::Path;

use crate::RecordsError;
use crate::logprobs::Layout;
use crate::logprobs::json::Json;
use crate::logprobs::listed::{Entry, Raw, Reading, rounding};

/// One predicted position of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// Where it stands in the file, e.g. `choices[0].logprobs.content[3]`.
    pub at: String,
    /// Text (or id) of the token that came next, where the response says.
    pub token: Option<String>,
    /// What is known of its distribution.
    pub reading: Reading,
}

/// Collects the positions of one or many response documents of a file.
pub(super) struct Collector<'a> {
    path: &'a Path,
    /// `line 3: ` where there are many documents.
    prefix: String,
    wanted: Option<Layout>,
    found: Vec<(Layout, String, Option<String>, Raw)>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(path: &'a Path, wanted: Option<Layout>) -> Self {
        Self {
            path,
            prefix: String::new(),
            wanted,
            found: Vec::new(),
        }
    }

    /// Where the next documents stand, e.g. `line 3: `.
    pub(super) fn stand_at(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// The layouts, positions and rounding of all documents.
    pub(super) fn finish(self) -> Result<(Vec<Layout>, Vec<Position>, f64), RecordsError> {
        if self.found.is_empty() {
            let what = self.wanted.map_or("no log-probs".to_owned(), |w| {
                format!("no log-probs in the layout {}", w.name())
            });
            return Err(RecordsError::json(
                self.path,
                format!(
                    "{what}; ask the server for them (logprobs and top_logprobs, or prompt_logprobs)"
                ),
            ));
        }
        let rounding = rounding(
            self.found
                .iter()
                .map(|(.., raw)| raw.decimals())
                .max()
                .unwrap_or(0),
        );
        let mut layouts = Vec::new();
        let mut positions = Vec::with_capacity(self.found.len());
        for (layout, at, token, raw) in self.found {
            if !layouts.contains(&layout) {
                layouts.push(layout);
            }
            positions.push(Position {
                at,
                token,
                reading: raw.reading(rounding),
            });
        }
        Ok((layouts, positions, rounding))
    }

    /// Adds what a document holds.
    pub(super) fn document(&mut self, document: &Json) -> Result<(), RecordsError> {
        if let Some(list) = document.list() {
            return self.prompt("", list, None);
        }
        // A line of a batch output wraps the response.
        if let Some(body) = document.get("response").and_then(|r| r.get("body")) {
            return self.document(body);
        }
        self.refuse_error(document)?;
        let ids = document.get("prompt_token_ids").and_then(Json::list);
        if let Some(list) = document.get("prompt_logprobs").and_then(Json::list) {
            self.prompt("prompt_logprobs", list, ids)?;
        }
        self.logprobs("", document)?;
        for part in ["choices", "outputs"] {
            for (i, choice) in document
                .get(part)
                .and_then(Json::list)
                .unwrap_or(&[])
                .iter()
                .enumerate()
            {
                let at = format!("{part}[{i}]");
                if let Some(list) = choice.get("prompt_logprobs").and_then(Json::list) {
                    let ids = choice.get("prompt_token_ids").and_then(Json::list).or(ids);
                    self.prompt(&format!("{at}.prompt_logprobs"), list, ids)?;
                }
                match choice.get("logprobs") {
                    None | Some(Json::Null) => {}
                    Some(Json::List(list)) => {
                        let ids = choice.get("token_ids").and_then(Json::list);
                        self.by_id(Layout::Completions, &format!("{at}.logprobs"), list, ids)?;
                    }
                    Some(logprobs @ Json::Object(_)) => {
                        self.logprobs(&format!("{at}.logprobs"), logprobs)?
                    }
                    Some(other) => {
                        return self.fail(
                            &format!("{at}.logprobs"),
                            "an object or a list",
                            Some(other),
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// The object under `logprobs`: the completions layout, the chat layout, or neither.
    fn logprobs(&mut self, at: &str, logprobs: &Json) -> Result<(), RecordsError> {
        if logprobs.get("token_logprobs").is_some() {
            return self.completions(at, logprobs);
        }
        for part in ["content", "refusal"] {
            if let Some(Json::List(list)) = logprobs.get(part) {
                for (i, item) in list.iter().enumerate() {
                    let at = join(at, part);
                    self.chat(format!("{at}[{i}]"), item)?;
                }
            }
        }
        Ok(())
    }

    fn prompt(
        &mut self,
        at: &str,
        list: &[Json],
        ids: Option<&[Json]>,
    ) -> Result<(), RecordsError> {
        self.by_id(Layout::PromptLogprobs, at, list, ids)
    }

    /// Objects from token id to log-prob, the token that came next first.
    fn by_id(
        &mut self,
        layout: Layout,
        at: &str,
        list: &[Json],
        ids: Option<&[Json]>,
    ) -> Result<(), RecordsError> {
        for (i, item) in list.iter().enumerate() {
            let at = format!("{at}[{i}]");
            let pairs = match item {
                Json::Null => &[],
                Json::Object(pairs) => pairs.as_slice(),
                other => {
                    return self.fail(
                        &at,
                        "null or an object from token id to log-prob",
                        Some(other),
                    );
                }
            };
            let id = ids
                .and_then(|ids| ids.get(i))
                .and_then(Json::number)
                .map(|id| id.to_string());
            let next = pairs
                .iter()
                .find(|(key, _)| id.as_deref() == Some(&**key))
                .or(pairs.first());
            let token =
                next.map(
                    |(key, value)| match value.get("decoded_token").and_then(Json::text) {
                        Some(text) => text.to_owned(),
                        None => format!("token_id:{key}"),
                    },
                );
            let mut raw = Raw {
                may_hold_extra: true,
                ..Raw::default()
            };
            for (key, value) in pairs {
                let entry = self.id_entry(&format!("{at}.{key}"), key, value)?;
                if next.is_some_and(|(next, _)| next == key) {
                    raw.next = Some(entry.clone());
                }
                raw.listed.push(entry);
            }
            // Without ranks the next token decides what bounds the tail, and
            // the order of keys is no proof of which it is.
            if id.is_none() && raw.listed.iter().any(|e| e.rank.is_none()) {
                raw.next = None;
            }
            self.push(layout, at, token, raw);
        }
        Ok(())
    }

    /// `{logprob, rank?}`, or a bare number as older servers write it.
    fn id_entry(&self, at: &str, key: &str, value: &Json) -> Result<Entry, RecordsError> {
        let (logprob, rank) = match value {
            Json::Object(_) => (
                value.get("logprob"),
                value.get("rank").and_then(Json::number),
            ),
            bare => (Some(bare), None),
        };
        let Some(logprob) = logprob.and_then(Json::number) else {
            return self.fail(&join(at, "logprob"), "a number", logprob);
        };
        Ok(Entry {
            token: key.into(),
            exact: true,
            logprob,
            rank,
        })
    }

    fn completions(&mut self, at: &str, logprobs: &Json) -> Result<(), RecordsError> {
        let Some(sampled) = logprobs.get("token_logprobs").and_then(Json::list) else {
            return self.fail(
                &join(at, "token_logprobs"),
                "a list",
                logprobs.get("token_logprobs"),
            );
        };
        let tokens = self.parallel(at, logprobs, "tokens", sampled.len())?;
        let tops = self.parallel(at, logprobs, "top_logprobs", sampled.len())?;
        for (i, sampled) in sampled.iter().enumerate() {
            let token = tokens.and_then(|t| t.get(i)).and_then(Json::text);
            let mut raw = Raw {
                may_hold_extra: true,
                keyed_by_text: true,
                ..Raw::default()
            };
            match (sampled, sampled.number()) {
                (Json::Null, _) => {}
                (_, Some(logprob)) => {
                    raw.next = Some(text_entry(token.unwrap_or(""), None, logprob))
                }
                (other, None) => {
                    return self.fail(
                        &join(at, &format!("token_logprobs[{i}]")),
                        "null or a number",
                        Some(other),
                    );
                }
            }
            match tops.and_then(|t| t.get(i)) {
                None | Some(Json::Null) => {}
                Some(Json::Object(pairs)) => {
                    for (key, value) in pairs {
                        let Some(logprob) = value.number() else {
                            return self.fail(
                                &join(at, &format!("top_logprobs[{i}].{key}")),
                                "a number",
                                Some(value),
                            );
                        };
                        raw.listed.push(text_entry(key, None, logprob));
                    }
                }
                Some(other) => {
                    return self.fail(
                        &join(at, &format!("top_logprobs[{i}]")),
                        "null or an object",
                        Some(other),
                    );
                }
            }
            let at = join(at, &format!("token_logprobs[{i}]"));
            self.push(Layout::Completions, at, token.map(str::to_owned), raw);
        }
        Ok(())
    }

    /// A list beside `token_logprobs`: absent, null, or of the same length.
    fn parallel<'j>(
        &self,
        at: &str,
        logprobs: &'j Json,
        name: &str,
        len: usize,
    ) -> Result<Option<&'j [Json]>, RecordsError> {
        match logprobs.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::List(list)) if list.len() == len => Ok(Some(list)),
            Some(Json::List(list)) => {
                let reason = format!(
                    "has {} entries and token_logprobs has {len}; the response is cut or altered",
                    list.len()
                );
                Err(RecordsError::entry(
                    self.path,
                    self.place(&join(at, name)),
                    reason,
                ))
            }
            Some(other) => self.fail(&join(at, name), "null or a list", Some(other)),
        }
    }

    fn chat(&mut self, at: String, item: &Json) -> Result<(), RecordsError> {
        let next = self.chat_entry(&at, item)?;
        let mut raw = Raw {
            next: Some(next),
            ..Raw::default()
        };
        match item.get("top_logprobs") {
            None | Some(Json::Null) => {}
            Some(Json::List(list)) => {
                for (i, top) in list.iter().enumerate() {
                    raw.listed
                        .push(self.chat_entry(&format!("{at}.top_logprobs[{i}]"), top)?);
                }
            }
            Some(other) => return self.fail(&format!("{at}.top_logprobs"), "a list", Some(other)),
        }
        let token = item.get("token").and_then(Json::text).map(str::to_owned);
        self.push(Layout::Chat, at, token, raw);
        Ok(())
    }

    /// `{token, logprob, bytes?}`.
    fn chat_entry(&self, at: &str, item: &Json) -> Result<Entry, RecordsError> {
        let Some(token) = item.get("token").and_then(Json::text) else {
            return self.fail(&join(at, "token"), "a string", item.get("token"));
        };
        let Some(logprob) = item.get("logprob").and_then(Json::number) else {
            return self.fail(&join(at, "logprob"), "a number", item.get("logprob"));
        };
        Ok(text_entry(
            token,
            item.get("bytes").and_then(Json::list),
            logprob,
        ))
    }

    fn refuse_error(&self, document: &Json) -> Result<(), RecordsError> {
        let error = match document.get("error") {
            None | Some(Json::Null)
                if document.get("object").and_then(Json::text) == Some("error") =>
            {
                document
            }
            None | Some(Json::Null) => return Ok(()),
            Some(error) => error,
        };
        let said = error
            .get("message")
            .and_then(Json::text)
            .or(error.text())
            .unwrap_or("no message");
        let reason = format!("the server answered with an error ({said:?}); repeat the request");
        Err(RecordsError::entry(self.path, self.place("error"), reason))
    }

    fn push(&mut self, layout: Layout, at: String, token: Option<String>, raw: Raw) {
        if self.wanted.is_none_or(|wanted| wanted == layout) {
            let at = self.place(&at);
            self.found.push((layout, at, token, raw));
        }
    }

    fn place(&self, at: &str) -> String {
        format!("{}{at}", self.prefix)
    }

    fn fail<T>(&self, at: &str, expected: &str, found: Option<&Json>) -> Result<T, RecordsError> {
        let found = found.map_or("nothing", Json::kind);
        let reason =
            format!("expected {expected}, found {found}; give the response as the server sent it");
        Err(RecordsError::entry(self.path, self.place(at), reason))
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

/// An entry named by text. vLLM can be asked to write `token_id:123` instead,
/// which names one token only.
fn text_entry(text: &str, bytes: Option<&[Json]>, logprob: f64) -> Entry {
    let mut token = text.to_owned();
    for byte in bytes.unwrap_or(&[]) {
        // Never shown: only tells tokens of the same text apart.
        token.push_str(&format!("\u{0}{}", byte.number().unwrap_or(-1.0)));
    }
    Entry {
        exact: text.starts_with("token_id:"),
        token: token.into(),
        logprob,
        rank: None,
    }
}
