//! Imports in `src` point down the layers, never up, and never sideways.
//!
//! The test reads sources, not types: every path that begins with `crate::`, or with as many `super::`
//! as it takes to reach the crate's root, names a module, and that module has to stand in a lower row
//! than the one that holds the path. What a module keeps under `#[cfg(test)]` is held to it as well.

mod sources;
#[path = "sources/tokens.rs"]
mod tokens;

use std::fs;
use std::path::Path;

use tokens::{Token, tokens};

/// The rows, from the top. Modules of one row know nothing of each other.
const ROWS: &[&[&str]] = &[
    &["lib", "main", "cli", "corpora", "simulation"],
    &["server"],
    &["config"],
    &["http"],
    &["session"],
    &["gate", "backplane"],
    &["fanout", "store"],
    &["broker"],
    &["ring", "ws", "auth", "limits"],
    &["protocol", "metrics", "sync"],
];

#[test]
fn imports_point_down_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for file in sources::files(&root.join("src"), &["rs"]) {
        let path = file.strip_prefix(root).expect("it was found below the root");
        let text = fs::read_to_string(&file).expect("sources are readable UTF-8");
        wrong.extend(breaches(path, &text));
    }
    assert!(wrong.is_empty(), "{} imports that do not point down:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_path_up_or_sideways_is_named_with_file_and_line() {
    let check = |file: &str, text: &str| breaches(Path::new(file), text).join("\n");

    assert_eq!(check("src/broker/topic.rs", "use crate::ring::Ring;\nuse super::inbox;"), "");
    assert_eq!(check("src/ring/mod.rs", "//! See [`crate::broker`].\nlet a = \"crate::broker\";"), "");
    assert_eq!(
        check("src/ring/chain.rs", "use std::fmt;\nuse crate::broker::Broker;"),
        "src/ring/chain.rs:2: ring reaches up to broker"
    );
    assert_eq!(check("src/ring/mod.rs", "use crate::ws;"), "src/ring/mod.rs:1: ring reaches sideways to ws");
    assert_eq!(
        check("src/ring/mod.rs", "use crate::{\n    sync::Flag,\n    http::{Body, Service},\n};"),
        "src/ring/mod.rs:3: ring reaches up to http"
    );
    assert_eq!(
        check("src/broker/mod.rs", "mod tests {\n    use super::super::fanout;\n    use super::topic;\n}"),
        "src/broker/mod.rs:2: broker reaches up to fanout"
    );
    assert_eq!(
        check("src/broker/topic.rs", "let gate = super::super::gate::Gate::new();"),
        "src/broker/topic.rs:1: broker reaches up to gate"
    );
    assert_eq!(
        check("src/fanout/pass.rs", "use crate::Broker;"),
        "src/fanout/pass.rs:1: fanout takes Broker from the crate's front; name the module it lives in"
    );
    assert_eq!(check("src/ring/mod.rs", "pub(crate) struct A; pub(in crate::ring) struct B;"), "");
    assert_eq!(
        check("src/storage/mod.rs", ""),
        "src/storage/mod.rs: storage has no place in ROWS of tests/layers.rs; give it one"
    );
}

/// What is wrong in one file, a line each.
fn breaches(path: &Path, text: &str) -> Vec<String> {
    let module = module_path(path);
    let here = module.first().map_or("lib", String::as_str);
    let Some(row) = row_of(here) else {
        return vec![format!("{}: {here} has no place in ROWS of tests/layers.rs; give it one", path.display())];
    };
    // `main.rs` is a crate of its own and sees only the library's front.
    if row == 0 {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for (line, name) in names_at_the_root(&tokens(text), module.len()) {
        let place = format!("{}:{line}", path.display());
        if name == here {
            continue;
        }
        match row_of(&name) {
            Some(other) if other > row => {}
            Some(other) => {
                let way = if other == row { "sideways" } else { "up" };
                wrong.push(format!("{place}: {here} reaches {way} to {name}"));
            }
            None if name.starts_with(char::is_uppercase) => {
                wrong.push(format!("{place}: {here} takes {name} from the crate's front; name the module it lives in"));
            }
            None => wrong.push(format!("{place}: {name} has no place in ROWS of tests/layers.rs; give it one")),
        }
    }
    wrong
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// `src/ring/chain.rs` holds `ring::chain`, `src/ring/mod.rs` holds `ring`.
fn module_path(path: &Path) -> Vec<String> {
    let below = path.strip_prefix("src").expect("a file of src").with_extension("");
    let mut names: Vec<String> = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// The names that paths in `tokens` look up in the crate's root, each with its line. `depth` is how many
/// `super` it takes from the top of the file to get there.
fn names_at_the_root(tokens: &[Token<'_>], depth: usize) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut braces: usize = 0;
    // The brace depths at which modules that stand in this very file were opened.
    let mut inline: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "{" => {
                let opens_module = at >= 2 && tokens[at - 2].text == "mod";
                braces += 1;
                if opens_module {
                    inline.push(braces);
                }
            }
            "}" => {
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
                braces = braces.saturating_sub(1);
            }
            "crate" if follows(tokens, at + 1, "::") => heads(tokens, at + 2, &mut names),
            "super" => {
                let first = at;
                while follows(tokens, at + 1, "::") && follows(tokens, at + 2, "super") {
                    at += 2;
                }
                let supers = (at - first) / 2 + 1;
                if supers == depth + inline.len() && follows(tokens, at + 1, "::") {
                    heads(tokens, at + 2, &mut names);
                }
            }
            _ => {}
        }
        at += 1;
    }
    names
}

fn follows(tokens: &[Token<'_>], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

/// The first name of a path, or of each path in a group: `a` and `c` of `{a::b, c::{d, e}}`.
fn heads(tokens: &[Token<'_>], at: usize, names: &mut Vec<(usize, String)>) {
    if !follows(tokens, at, "{") {
        names.extend(tokens.get(at).map(|token| (token.line, token.text.to_owned())));
        return;
    }
    let mut braces = 0;
    for (before, token) in tokens[at..].iter().enumerate() {
        match token.text {
            "{" => braces += 1,
            "}" => braces -= 1,
            _ => {}
        }
        if braces == 0 {
            return;
        }
        let begins = matches!(tokens[at + before].text, "{" | ",") && braces == 1;
        if begins
            && let Some(name) = tokens.get(at + before + 1)
            && name.text != "}"
        {
            names.push((name.line, name.text.to_owned()));
        }
    }
}
