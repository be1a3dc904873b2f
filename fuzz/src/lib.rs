//! What the targets share: a folder for parsers that read files, fixed parts to
//! put beside the fuzzed one, and how contained panics are kept quiet.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once};

use forkscope_policy::{Policy, PromptGroup};

/// A tiny Llama model's config.
pub static CONFIG: &[u8] =
    include_bytes!("../../crates/forkscope-policy/tests/fixtures/models/llama-tied/config.json");
/// Its weights.
pub static WEIGHTS: &[u8] = include_bytes!(
    "../../crates/forkscope-policy/tests/fixtures/models/llama-tied/model.safetensors"
);
/// The config of an adapter on it.
pub static ADAPTER_CONFIG: &[u8] = include_bytes!(
    "../../crates/forkscope-policy/tests/fixtures/adapters/on-tied/adapter_config.json"
);
/// That adapter's weights.
pub static ADAPTER_WEIGHTS: &[u8] = include_bytes!(
    "../../crates/forkscope-policy/tests/fixtures/adapters/on-tied/adapter_model.safetensors"
);
/// A small tokenizer.
pub static TOKENIZER: &[u8] =
    include_bytes!("../../crates/forkscope/assets/organism/base/tokenizer.json");

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("forkscope-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the fuzzed files");
    folder
});

/// Writes `files` below this process's folder, under `name`, and returns it.
/// The honest parts above are written once.
pub fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = FOLDER.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let honest = [CONFIG, WEIGHTS, ADAPTER_CONFIG, ADAPTER_WEIGHTS];
    for (file, bytes) in files {
        if folder.join(file).exists() && honest.iter().any(|h| std::ptr::eq(*h, *bytes)) {
            continue;
        }
        // Renamed into place: a file that is still mapped is never truncated.
        let part = folder.join("part");
        std::fs::write(&part, bytes).expect("a file");
        std::fs::rename(&part, folder.join(file)).expect("a name");
    }
    folder
}

/// Opens a model folder, perhaps with an adapter, and scores a few ids: what
/// opens must also run.
pub fn run_policy(model: &Path, adapter: Option<&Path>) {
    let model = model.display();
    let opened = match adapter {
        Some(adapter) => Policy::open(&format!("{model}+{}", adapter.display())),
        None => Policy::open(&model.to_string()),
    };
    let Ok(policy) = opened else { return };
    let groups = [PromptGroup {
        prompt: &[1, 0],
        completions: vec![&[0, 1, 0], &[1]],
    }];
    if policy.vocab_size() < 2 || policy.context_len() < 8 {
        return;
    }
    if let Ok(hidden) = policy.hidden_rows(&groups) {
        assert_eq!(hidden.rows(), 4);
        policy.logits(&hidden.values, &mut Vec::new());
    }
}

/// For targets whose code contains the panics of a library it calls: libFuzzer
/// aborts in the panic hook, before anything can be contained. A panic that is
/// not contained still ends the process.
pub fn let_contained_panics_pass() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// Splits off a first byte that chooses among `n` variants.
pub fn choose(data: &[u8], n: usize) -> Option<(usize, &[u8])> {
    data.split_first()
        .map(|(&first, rest)| (usize::from(first) % n, rest))
}
