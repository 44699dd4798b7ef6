//! Finds and reads the files of this repository, for the tests that hold them to something.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold what others made.
const FOREIGN: &[&str] = &["target", "node_modules", "dist", "artifacts", "corpus", "__pycache__"];

/// All files below `folder` whose names end in one of `extensions`, sorted. None of what tools leave
/// behind, and nothing hidden.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || FOREIGN.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extensions));
        } else if extensions.iter().any(|end| name.rsplit_once('.').is_some_and(|(_, have)| have == *end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}
