//! A policy: tokenizer, template, weights and adapter; scoring of given ids, and sampling.
