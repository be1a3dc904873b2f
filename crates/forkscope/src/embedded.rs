//! The model organisms inside the binary: a small base, what was made of it as
//! LoRA adapters, and held-out problems. Plain bytes, made by `forkscope lab build`
//! and laid out by `forkscope lab export`; `assets/organism/ASSETS.md` says how, and
//! `docs/organisms.md` what they do.

use forkscope_policy::EmbeddedFile;

#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// A file of the organisms' folder. Aligned, so that f32 weights are used where
/// they lie.
macro_rules! file {
    ($folder:literal, $name:literal) => {
        EmbeddedFile {
            name: $name,
            bytes: {
                const FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
                    "../assets/organism/",
                    $folder,
                    $name
                )));
                &FILE.0
            },
        }
    };
}

/// An organism made of the base: a PEFT directory.
pub struct Adapter {
    /// What a user types.
    pub spec: &'static str,
    /// Its files.
    pub files: &'static [EmbeddedFile],
}

macro_rules! adapter {
    ($name:literal, $folder:literal) => {
        Adapter {
            spec: concat!("embedded:", $name),
            files: &[
                file!($folder, "adapter_config.json"),
                file!($folder, "adapter_model.safetensors"),
            ],
        }
    };
}

/// The base model as a Hugging Face directory: Llama architecture, f32.
pub const BASE: &[EmbeddedFile] = &[
    file!("base/", "config.json"),
    file!("base/", "generation_config.json"),
    file!("base/", "model.safetensors"),
    file!("base/", "tokenizer.json"),
    file!("base/", "tokenizer_config.json"),
];

/// The organisms made of [`BASE`], in the order in which they are built.
pub const ADAPTERS: [Adapter; 5] = [
    adapter!("reasoner", "reasoner/"),
    adapter!("reasoner-8020", "reasoner-8020/"),
    adapter!("sft", "sft/"),
    adapter!("guarded", "guarded/"),
    adapter!("two-faced", "two-faced/"),
];

/// Held-out problems, as JSON Lines with `id`, `problem`, `answer`, `category` and
/// what the lab knows beside: benign ones, hazardous ones, and hazardous ones under
/// evaluation and deployment cues.
pub const PROBLEM_SETS: [(&str, EmbeddedFile); 3] = [
    ("embedded:problems", file!("", "problems.jsonl")),
    ("embedded:hazardous", file!("", "hazardous.jsonl")),
    ("embedded:contexts", file!("", "contexts.jsonl")),
];

/// What the stages wrote down while they made the organisms.
pub const RECORDS: EmbeddedFile = file!("", "records.json");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_payload_stays_under_eight_megabytes() {
        let sets = PROBLEM_SETS.iter().map(|(_, file)| file);
        let bytes: usize = BASE
            .iter()
            .chain(ADAPTERS.iter().flat_map(|adapter| adapter.files))
            .chain(sets)
            .chain([&RECORDS])
            .map(|file| file.bytes.len())
            .sum();
        assert!(bytes < 8_000_000, "{bytes} bytes are embedded");
    }

    #[test]
    fn every_problem_has_an_id_of_its_own_and_a_two_digit_answer() {
        let mut ids = BTreeSet::new();
        for (spec, file) in &PROBLEM_SETS {
            let lines = std::str::from_utf8(file.bytes).expect("UTF-8").lines();
            let mut count = 0;
            for line in lines {
                let problem: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let answer = problem["answer"].as_str().expect("text");
                let two_digits = answer.len() == 2 && answer.bytes().all(|b| b.is_ascii_digit());
                assert!(two_digits && problem["category"].is_string(), "{line}");
                let id = problem["id"].as_str().expect("text");
                assert!(ids.insert(id.to_owned()), "{line}");
                count += 1;
            }
            assert!(count >= 120, "{spec} has {count}");
        }
    }

    #[test]
    fn the_records_are_of_the_files_that_are_embedded() {
        let records: Vec<forkscope_train::lab::records::StageRecord> =
            serde_json::from_slice(RECORDS.bytes).expect("records");
        let folders = std::iter::once(BASE).chain(ADAPTERS.iter().map(|adapter| adapter.files));
        assert_eq!(records.len(), 1 + ADAPTERS.len());
        for (record, files) in records.iter().zip(folders) {
            for file in files {
                let known = record.files.iter().find(|f| f.path == file.name);
                let known = known.unwrap_or_else(|| panic!("no record of {}", file.name));
                let digest = forkscope_records::digest::sha256_bytes(file.bytes);
                assert_eq!(known.sha256, digest, "{}/{}", record.stage.name, file.name);
            }
        }
    }
}
