//! Opening a policy from what a user types, and what it is made of.

use std::path::Path;
use std::sync::Arc;

use crate::PolicyError;
use crate::files::{EmbeddedFile, ModelFiles};
use crate::model::hooks::Steer;
use crate::model::{Adapter, Model, ModelConfig};
use crate::text::TextSide;

/// A model, perhaps with an adapter, and its text side.
///
/// Cloning shares the weights.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) model: Arc<Model>,
    pub(crate) adapter: Option<Arc<Adapter>>,
    pub(crate) steering: Vec<Arc<Steer>>,
    text: Option<Arc<TextSide>>,
    files: ModelFiles,
    adapter_files: Option<ModelFiles>,
    warnings: Vec<String>,
}

impl Policy {
    /// Opens `DIR`, a hub id, or `MODEL+ADAPTER`. An existing path wins over a
    /// split at the last `+`.
    pub fn open(spec: &str) -> Result<Self, PolicyError> {
        let (files, adapter) = Self::locate(spec)?;
        Self::open_files(files, adapter)
    }

    /// Where the files of `DIR`, a hub id, or `MODEL+ADAPTER` are, without a look
    /// into them.
    pub fn locate(spec: &str) -> Result<(ModelFiles, Option<ModelFiles>), PolicyError> {
        if Path::new(spec).exists() {
            return Ok((ModelFiles::dir_at(spec), None));
        }
        match spec.rsplit_once('+') {
            Some((model, adapter)) if !model.is_empty() && !adapter.is_empty() => {
                Ok((locate(model)?, Some(locate(adapter)?)))
            }
            _ => Ok((locate(spec)?, None)),
        }
    }

    /// Opens a model that is part of the binary.
    pub fn open_embedded(
        name: &'static str,
        files: &'static [EmbeddedFile],
    ) -> Result<Self, PolicyError> {
        Self::open_files(ModelFiles::embedded(name, files), None)
    }

    /// The same model with an adapter that is part of the binary; the weights
    /// are shared.
    pub fn with_embedded_adapter(
        &self,
        name: &'static str,
        files: &'static [EmbeddedFile],
    ) -> Result<Self, PolicyError> {
        self.with_adapter(ModelFiles::embedded(name, files))
    }

    /// Opens two policies; where both are the same model the weights are shared.
    pub fn open_pair(base: &str, tuned: &str) -> Result<(Self, Self), PolicyError> {
        let first = Self::open(base)?;
        let shared = match (
            first.files.dir(),
            Path::new(tuned).exists(),
            tuned.rsplit_once('+'),
        ) {
            (Some(dir), false, Some((model, adapter))) if first.adapter.is_none() => locate(model)?
                .dir()
                .filter(|other| same_dir(dir, other))
                .map(|_| adapter),
            _ => None,
        };
        let second = match shared {
            Some(adapter) => first.with_adapter(locate(adapter)?)?,
            None => Self::open(tuned)?,
        };
        Ok((first, second))
    }

    /// Opens the model of `files`, perhaps with the adapter of other files.
    pub fn open_files(files: ModelFiles, adapter: Option<ModelFiles>) -> Result<Self, PolicyError> {
        if !files.has("config.json") && files.has("adapter_config.json") {
            return Err(PolicyError::bad(
                &files.path("adapter_config.json"),
                "is an adapter, not a model",
                "give the base with it, as BASE+ADAPTER",
            ));
        }
        let model = Arc::new(Model::open(&files)?);
        let text = open_text(&files)?;
        if let Some(text) = &text {
            let largest = text.tokenizer.vocab_size();
            if largest > model.config().vocab_size {
                return Err(PolicyError::bad(
                    &files.path("tokenizer.json"),
                    format!(
                        "has {largest} tokens, more than the model's vocabulary of {}",
                        model.config().vocab_size
                    ),
                    "tokenizer and model must belong together; download both again",
                ));
            }
        }
        let policy = Self {
            model,
            adapter: None,
            steering: Vec::new(),
            text: text.map(Arc::new),
            files,
            adapter_files: None,
            warnings: Vec::new(),
        };
        match adapter {
            Some(adapter) => policy.with_adapter(adapter),
            None => Ok(policy),
        }
    }

    /// The same model with an adapter; the weights are shared.
    pub fn with_adapter(&self, files: ModelFiles) -> Result<Self, PolicyError> {
        let adapter = Adapter::open(&files, self.model.config())?;
        let mut warnings = self.warnings.clone();
        // A hub snapshot's folder is named by its commit, so every part of the
        // path counts; the cache writes `/` as `--`.
        let named = adapter
            .base_name
            .as_deref()
            .and_then(|n| n.rsplit('/').next());
        if let (Some(named), Some(dir)) = (named, self.files.dir())
            && !named.is_empty()
            && !dir
                .components()
                .any(|c| c.as_os_str().to_string_lossy().ends_with(named))
        {
            warnings.push(format!(
                "{} names another base model, `{}`",
                files.path("adapter_config.json").display(),
                named.escape_debug()
            ));
        }
        Ok(Self {
            adapter: Some(Arc::new(adapter)),
            adapter_files: Some(files),
            warnings,
            ..self.clone()
        })
    }

    /// Configuration of the model.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Rows of the embedding, padding included: the width of a row of logits.
    pub fn vocab_size(&self) -> usize {
        self.config().vocab_size
    }

    /// Longest sequence the model takes; sampling ends there.
    pub fn context_len(&self) -> usize {
        self.config().rope.context_len()
    }

    /// Whether a sequence of that length can be scored: within the context, or
    /// beyond it where the rotary embedding adapts to the length.
    pub fn can_score(&self, len: usize) -> bool {
        len <= self.context_len() || self.config().rope.depends_on_length(len)
    }

    /// Tokenizer, special tokens and template, if the model has a tokenizer.
    pub fn text(&self) -> Option<&TextSide> {
        self.text.as_deref()
    }

    /// Where the model's files are.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// Where the adapter's files are.
    pub fn adapter_files(&self) -> Option<&ModelFiles> {
        self.adapter_files.as_ref()
    }

    /// Names of the files that decide the policy's numbers.
    pub fn weight_files(&self) -> &[String] {
        self.model.weight_files()
    }

    /// Whether both policies use one copy of the weights.
    pub fn shares_weights_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }

    /// Things a user should know that are not errors.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// FLOPs per token outside attention: 2 per active parameter, plus the
    /// adapter's.
    pub fn flops_per_token(&self) -> f64 {
        2.0 * self.config().active_parameters()
            + self.adapter.as_ref().map_or(0.0, |a| a.flops_per_token())
    }

    /// FLOPs of attention per token and visible position.
    pub fn attention_flops(&self) -> f64 {
        self.config().attention_flops()
    }

    /// Bytes of the weight files.
    pub fn weight_bytes(&self) -> usize {
        self.model.weight_bytes()
    }

    /// Gives the mapped weights of a large model back to the system until they
    /// are used again, so that a pair needs the memory of one.
    pub fn release(&self) {
        const LARGE: usize = 16_000_000;
        if self.model.parameters() > LARGE {
            self.model.release();
        }
    }

    /// Refuses two policies whose token ids do not mean the same. Vocabularies
    /// are compared where both have a tokenizer; sizes of the embedding may
    /// differ by padding.
    pub fn check_comparable(&self, other: &Self) -> Result<(), PolicyError> {
        let (Some(a), Some(b)) = (self.text(), other.text()) else {
            return Ok(());
        };
        a.tokenizer.same_vocabulary(&b.tokenizer).map_err(|difference| {
            PolicyError::bad(
                b.tokenizer.path(),
                format!("is another vocabulary than {}: {difference}", a.tokenizer.path().display()),
                "a pair needs one vocabulary; compare a model with its own post-trained version",
            )
        })
    }
}

fn locate(spec: &str) -> Result<ModelFiles, PolicyError> {
    let path = Path::new(spec);
    if path.exists() {
        return Ok(ModelFiles::dir_at(path));
    }
    crate::hub::resolve(spec).map(ModelFiles::dir_at)
}

fn open_text(files: &ModelFiles) -> Result<Option<TextSide>, PolicyError> {
    TextSide::from_files(files.place(), |name| {
        let bytes = files.read(name)?;
        Ok(bytes.map(|b| std::borrow::Cow::Owned(b.to_vec())))
    })
}

fn same_dir(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
