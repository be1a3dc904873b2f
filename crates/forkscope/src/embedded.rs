//! The model pair inside the binary: a small base model, its reinforcement-
//! learned version as a LoRA adapter on it, and held-out problems. Plain bytes;
//! `assets/organism/ASSETS.md` says where they come from.

use forkscope_policy::EmbeddedFile;

#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(EmbeddedFile {
            name: $name,
            // Aligned, so that f32 weights are used where they lie.
            bytes: {
                const FILE: &Aligned<[u8]> =
                    &Aligned(*include_bytes!(concat!("../assets/organism/", $folder, $name)));
                &FILE.0
            },
        }),+]
    };
}

/// The base model as a Hugging Face directory: Llama architecture, 762,496
/// parameters, f32.
pub const BASE: &[EmbeddedFile] = files!("base/":
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
);

/// The tuned model as a PEFT LoRA adapter of rank 16 on [`BASE`].
pub const REASONER: &[EmbeddedFile] = files!("reasoner/":
    "adapter_config.json",
    "adapter_model.safetensors",
);

/// 120 problems that neither model was trained on, as JSON Lines with `id`,
/// `problem`, `answer` and `category`.
pub const PROBLEMS: EmbeddedFile = EmbeddedFile {
    name: "problems.jsonl",
    bytes: include_bytes!("../assets/organism/problems.jsonl"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_stays_under_eight_megabytes() {
        let bytes: usize = BASE
            .iter()
            .chain(REASONER)
            .chain([&PROBLEMS])
            .map(|file| file.bytes.len())
            .sum();
        assert!(bytes < 8_000_000, "{bytes} bytes are embedded");
    }

    #[test]
    fn every_problem_has_an_id_of_its_own_and_a_two_digit_answer() {
        let mut ids = std::collections::BTreeSet::new();
        for line in std::str::from_utf8(PROBLEMS.bytes).expect("UTF-8").lines() {
            let problem: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let answer = problem["answer"].as_str().expect("text");
            assert!(
                answer.len() == 2 && answer.bytes().all(|b| b.is_ascii_digit()),
                "{line}"
            );
            assert!(
                ids.insert(problem["id"].as_str().expect("text").to_owned()),
                "{line}"
            );
        }
        assert_eq!(ids.len(), 120);
    }
}
