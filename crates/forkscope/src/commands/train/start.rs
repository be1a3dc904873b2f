//! Where the weights that are trained come from: a model, or a configuration
//! and random numbers.

use std::path::Path;

use forkscope_policy::text::TextSide;
use forkscope_policy::{ModelConfig, ModelFiles};
use forkscope_records::RunManifest;
use forkscope_train::engine::{Network, Trainable};
use forkscope_train::start_from_adapter;

use super::adapter::Chosen;
use crate::embedded;
use crate::failure::Failure;
use crate::work::models::{self, Named};
use crate::work::run;
pub use crate::work::training::{parameters, trained};

/// A model to train.
pub struct Start {
    /// As the user typed it.
    pub spec: String,
    /// Its files.
    pub files: ModelFiles,
    /// Its checked configuration.
    pub config: ModelConfig,
    from: From,
}

enum From {
    /// The weights of a model.
    Model(Box<Named>),
    /// Random weights; the text side of the configuration's folder.
    Config(Option<Box<TextSide>>),
}

impl Start {
    /// A model with weights.
    pub fn model(spec: &str) -> Result<Self, Failure> {
        let named = models::open(spec)?;
        if named.policy.adapter_files().is_some() {
            return Err(Failure::Input(format!(
                "{spec} is a model with an adapter; give the model with --model, and the adapter with --adapter (reasonmaxxer: --init-adapter) to go on training it"
            )));
        }
        let files = named.policy.files().clone();
        Ok(Self {
            spec: spec.to_owned(),
            config: ModelConfig::open(&files)?,
            files,
            from: From::Model(Box::new(named)),
        })
    }

    /// A configuration without weights.
    pub fn config(spec: &str) -> Result<Self, Failure> {
        let files = match spec {
            models::BASE => ModelFiles::embedded(models::BASE, embedded::BASE),
            _ if Path::new(spec).is_dir() => ModelFiles::dir_at(spec),
            _ => {
                return Err(Failure::Input(format!(
                    "{spec} is no folder; give one with config.json and tokenizer.json in it"
                )));
            }
        };
        let text = TextSide::from_files(files.place(), |name| {
            let bytes = files.read(name)?;
            Ok(bytes.map(|b| std::borrow::Cow::Owned(b.to_vec())))
        })?;
        Ok(Self {
            spec: spec.to_owned(),
            config: ModelConfig::open(&files)?,
            files,
            from: From::Config(text.map(Box::new)),
        })
    }

    /// Tokenizer and template, if there are any.
    pub fn text(&self) -> Option<&TextSide> {
        match &self.from {
            From::Model(named) => named.policy.text(),
            From::Config(text) => text.as_deref(),
        }
    }

    /// The text side, where it is needed.
    pub fn need_text(&self) -> Result<&TextSide, Failure> {
        self.text().ok_or_else(|| models::no_tokenizer(&self.spec))
    }

    /// The model as a policy, if it has weights.
    pub fn named(&self) -> Option<&Named> {
        match &self.from {
            From::Model(named) => Some(named),
            From::Config(_) => None,
        }
    }

    /// The network to train.
    pub fn network(&self, chosen: &Chosen, seed: u64) -> Result<Network, Failure> {
        let mut network = match &self.from {
            From::Model(_) => Network::open(&self.files, &chosen.trainable, seed)?,
            From::Config(_) => Network::initialised(&self.files, seed)?,
        };
        if let Some(adapter) = &chosen.start {
            start_from_adapter(&mut network, adapter)?;
        }
        Ok(network)
    }

    /// Adds the model to a manifest.
    pub fn record(&self, manifest: RunManifest) -> Result<RunManifest, Failure> {
        match &self.from {
            From::Model(named) => run::with_policy(manifest, "model", named),
            From::Config(text) => {
                let manifest = manifest
                    .setting("config", self.spec.as_str())
                    .digest("config", models::config_digest(&self.files)?);
                Ok(match text {
                    Some(text) => {
                        manifest.digest("tokenizer", text.tokenizer.vocabulary_digest().to_owned())
                    }
                    None => manifest,
                })
            }
        }
    }

    /// Parameters of the model, adapter left out.
    pub fn parameters(&self) -> u64 {
        parameters(&self.config)
    }
}

/// Whether an adapter is trained, so that the model without it is at hand.
pub fn has_reference(trainable: &Trainable) -> bool {
    matches!(trainable, Trainable::Lora(_))
}
