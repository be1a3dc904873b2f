//! A chat template: compiled, then rendered over a conversation.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_fuzz::let_contained_panics_pass;
use forkscope_policy::text::{ChatTemplate, Message, TemplateInputs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let tokens = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    if let Ok(template) = ChatTemplate::new(source, Path::new("chat_template.jinja"), tokens) {
        let messages = [
            Message::new("system", "be brief"),
            Message::new("user", "how many pens ?"),
            Message::new("assistant", "<think>ten and ten</think> 20"),
            Message::new("user", "and books ?"),
        ];
        let _ = template.render(&messages, &TemplateInputs::default());
    }
});
