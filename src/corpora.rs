//! Runs the bodies of the fuzz targets on the inputs in `fuzz/corpus`, so that what a fuzzer once found is
//! tried again without one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{auth, broker, limits, protocol, ring, ws};

type Body = fn(&[u8]);

const TARGETS: &[(&str, Body)] = &[
    ("broker", broker::fuzz::fuzz_ops),
    ("command_json", protocol::fuzz::fuzz_command_json),
    ("command_msgpack", protocol::fuzz::fuzz_command_msgpack),
    ("forwarded", limits::fuzz::forwarded),
    ("frame_gate", ws::fuzz::frame_gate),
    ("permissions", auth::fuzz::fuzz_permissions),
    ("proxy_protocol", limits::fuzz::proxy_protocol),
    ("ring", ring::oracle::fuzz_ops),
    #[cfg(feature = "jwt")]
    ("token", auth::fuzz::fuzz_token),
    ("topic_pattern", protocol::fuzz::fuzz_topic_pattern),
    ("transcode", protocol::fuzz::fuzz_transcode),
    ("ws_extensions", ws::fuzz::ws_extensions),
    ("ws_handshake", ws::fuzz::ws_handshake),
    ("ws_inflate", ws::fuzz::ws_inflate),
    ("ws_reader", ws::fuzz::ws_reader),
];

#[test]
fn every_fuzz_target_holds_on_its_corpus() {
    for (name, body) in TARGETS {
        let inputs = names(&format!("corpus/{name}"));
        assert!(!inputs.is_empty(), "fuzz/corpus/{name} is empty");
        for input in inputs {
            let bytes = fs::read(fuzz().join("corpus").join(name).join(&input)).expect("it was listed");
            let outcome = std::panic::catch_unwind(|| body(&bytes));
            assert!(outcome.is_ok(), "fuzz/corpus/{name}/{input}");
        }
    }
}

#[test]
#[cfg(feature = "jwt")]
fn every_fuzz_target_has_its_corpus_run_here() {
    let here: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets: BTreeSet<String> =
        names("fuzz_targets").iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(here, targets);
    assert_eq!(here, names("corpus"));
}

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

/// What lies in a folder of `fuzz`.
fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz().join(folder)).unwrap_or_else(|error| panic!("fuzz/{folder}: {error}"));
    entries.map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned()).collect()
}
