//! Hub ids: what is accepted names no path of its own.
#![no_main]

use std::path::{Component, Path};

use forkscope_policy::hub::HubId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = HubId::parse(text) {
        for part in [&id.name, &id.revision] {
            let stays = |c| matches!(c, Component::Normal(_));
            assert!(
                Path::new(part).components().all(stays),
                "{part:?} leaves the cache"
            );
        }
    }
});
