//! One fuzzer for all targets: `INBOXD_FUZZ` names the one that it tries.

#![no_main]

use std::sync::OnceLock;

use inboxd::fuzzing::TARGETS;
use libfuzzer_sys::fuzz_target;

fn target() -> fn(&[u8]) {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("INBOXD_FUZZ").unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        let names: Vec<_> = TARGETS.iter().map(|(known, _)| *known).collect();
        found.unwrap_or_else(|| panic!("INBOXD_FUZZ has to be one of {}", names.join(", "))).1
    })
}

fuzz_target!(|data: &[u8]| target()(data));
