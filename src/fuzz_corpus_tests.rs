//! Replays what the fuzz targets began with, and what they found, in an ordinary test.

use std::path::Path;

/// Gives each file of the target's corpus to `check`.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "the corpus is where it was");
    for file in files {
        eprintln!("{}", file.display());
        check(&std::fs::read(&file).unwrap());
    }
}
