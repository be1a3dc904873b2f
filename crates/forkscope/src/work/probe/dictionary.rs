//! Features of a dictionary that tell contexts apart: `awareness_features.parquet`.

use std::fs::File;
use std::path::PathBuf;

use forkscope_audit::awareness::sae::Dictionary;
use forkscope_audit::awareness::{Bench, FeatureSummary, Layer, feature_findings, features};
use forkscope_policy::PolicyError;
use forkscope_records::digest::sha256_reader;
use forkscope_records::types::{FeatureRow, Finding};
use forkscope_records::{RunDir, RunManifest};

use crate::failure::Failure;

/// Rows per row group.
const ROW_GROUP: usize = 4096;

/// A dictionary as the user named it.
#[derive(Debug, Clone)]
pub struct DictionaryOptions {
    /// safetensors file.
    pub file: PathBuf,
    /// JSON with names of features.
    pub names: Option<PathBuf>,
    /// Layer that it is of.
    pub layer: u32,
}

impl DictionaryOptions {
    /// Digests of the files into a manifest.
    pub fn digests(&self, mut manifest: RunManifest) -> Result<RunManifest, Failure> {
        for (name, file) in [
            ("sae", Some(&self.file)),
            ("sae_names", self.names.as_ref()),
        ] {
            if let Some(path) = file {
                let read = |source| PolicyError::Read {
                    path: path.clone(),
                    source,
                };
                let (sha256, _) = sha256_reader(File::open(path).map_err(read)?).map_err(read)?;
                manifest = manifest.digest(name, sha256);
            }
        }
        Ok(manifest)
    }

    /// Opens it for a residual stream of `width` values.
    pub fn open(&self, width: usize) -> Result<Dictionary, Failure> {
        Ok(Dictionary::open(&self.file, self.names.as_deref(), width)?)
    }
}

/// Encodes the activations of policy (`model`) and base, each under its pooling,
/// and tests every feature.
pub fn run(
    bench: &Bench<'_>,
    dictionary: &Dictionary,
    layer: u32,
    held: &[(&str, &str, &[Layer])],
    fdr: f64,
    dir: &RunDir,
) -> Result<Vec<Finding>, Failure> {
    let mut rows: Vec<FeatureRow> = Vec::new();
    let mut found = Vec::new();
    for (who, pooling, layers) in held {
        let Some(at) = layers.get(layer as usize) else {
            return Err(Failure::Internal("a layer is missing".into()));
        };
        let encoded = dictionary.encode(&at.values)?;
        let tested = features(bench, (who, pooling, layer), dictionary, &encoded, fdr)
            .map_err(|e| Failure::Input(format!("the features cannot be compared: {e}")))?;
        let summary = FeatureSummary {
            policy: who,
            pooling,
            layer,
            items: bench.design.len(),
            sources: bench.design.sources.len(),
            unexplained: dictionary.unexplained(&at.values, &encoded),
            mean_active: encoded.mean_active(),
            firing: encoded.active.len(),
            all: dictionary.features(),
            rate: fdr,
        };
        found.extend(feature_findings(&summary, &tested));
        rows.extend(tested);
    }
    let mut table = dir.table::<FeatureRow>("awareness_features", ROW_GROUP)?;
    if !table.is_whole() {
        let kept = table.rows_kept() as usize;
        table.append_all(rows.into_iter().skip(kept))?;
    }
    table.finish()?;
    Ok(found)
}
