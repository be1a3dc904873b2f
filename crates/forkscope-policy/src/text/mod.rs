//! Text in and out of a policy: tokenizer, chat template, prompt style.
