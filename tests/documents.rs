//! What the documents claim and a test can check.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fanfare::internals::protocol::{CloseCode, ErrorCode};

/// A file longer than this has more than one job.
const LINES_MAX: usize = 700;

#[test]
fn commands_in_the_documents_name_what_exists() {
    let manifest = read(&root().join("Cargo.toml"));
    let mut wrong = Vec::new();
    for (path, number, line) in document_lines() {
        let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "`()|,;'\"".contains(c)).collect();
        for pair in words.windows(2) {
            let exists = match pair[0] {
                "--example" if pair[1] != "NAME" => root().join(format!("examples/{}.rs", pair[1])).exists(),
                "--bench" => manifest.contains(&format!("[[bench]]\nname = \"{}\"", pair[1])),
                "--test" => {
                    root().join(format!("tests/{}.rs", pair[1])).exists()
                        || root().join(format!("tests/{}/main.rs", pair[1])).exists()
                }
                _ => true,
            };
            if !exists {
                wrong.push(format!("{path}:{number}: there is no {} for {}", pair[1], pair[0]));
            }
        }
        for word in words.iter().filter(|word| word.starts_with("scripts/")) {
            if !root().join(word.trim_end_matches(['.', ':'])).exists() {
                wrong.push(format!("{path}:{number}: {word} does not exist"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn fanfare_knows_the_commands_and_flags_that_the_documents_show() {
    // Built without the command there is nothing to ask.
    let Some(binary) = option_env!("CARGO_BIN_EXE_fanfare") else {
        return;
    };
    let help = |command: &str| -> Option<String> {
        let words = if command.is_empty() { vec!["--help"] } else { vec![command, "--help"] };
        let output = Command::new(binary).args(words).output().expect("the command starts");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut wrong = Vec::new();
    for (path, number, line) in document_lines() {
        let Some(rest) = line.strip_prefix("fanfare ").or_else(|| line.split_once("-- ").map(|(_, rest)| rest)) else {
            continue;
        };
        if !line.starts_with("fanfare ") && !line.starts_with("cargo run --release -- ") {
            continue;
        }
        // What follows a comment, a pipe or a redirection is the shell's.
        let rest = rest.split(" #").next().unwrap_or_default();
        let words: Vec<&str> =
            rest.split_whitespace().take_while(|word| !["|", ">", "&", "<"].contains(word)).collect();
        let command = words.first().filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).unwrap_or(&"");
        let Some(help) = help(command) else {
            wrong.push(format!("{path}:{number}: there is no `fanfare {command}`"));
            continue;
        };
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            if !help.contains(flag.split('=').next().unwrap_or(flag)) {
                wrong.push(format!("{path}:{number}: `fanfare {command}` has no {flag}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn settings_that_the_documents_name_exist() {
    let (settings, sections) = settings();
    let mut wrong = Vec::new();
    for path in documents() {
        let mut later = false;
        for (number, line) in (1..).zip(read(&path).lines()) {
            // A list of what this version lacks may name settings to come.
            if line.starts_with('#') {
                later = line.contains("ot available in this version");
            }
            for name in quoted(line) {
                let (name, written) = match name.strip_prefix("FANFARE_").and_then(|name| name.split_once("__")) {
                    Some((section, key)) => (format!("{section}.{key}").to_lowercase(), name),
                    None => (name.to_owned(), name),
                };
                let name = name.split(['=', ' ']).next().unwrap_or_default();
                let is_setting = name.split_once('.').is_some_and(|(section, key)| {
                    sections.contains(section) && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                });
                if is_setting && !later && !settings.contains(name) {
                    wrong.push(format!("{}:{number}: `{written}` is no setting of config/fanfare.toml", shown(&path)));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_setting_is_described() {
    let text = read(&root().join("docs/configuration.md"));
    let (settings, _) = settings();
    let wrong: Vec<String> = settings
        .iter()
        .filter(|name| {
            let (section, key) = name.split_once('.').expect("a section and a key");
            let heading = [format!("## [{section}]"), format!("## [[{section}]]")];
            let part =
                heading.iter().find_map(|heading| text.split_once(heading.as_str())).map_or("", |(_, part)| part);
            let part = part.split("\n## ").next().unwrap_or_default();
            !part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == key)
        })
        .map(|name| format!("docs/configuration.md does not describe {name} under the heading of its section"))
        .collect();
    assert_none(&wrong);
}

#[test]
fn every_default_has_its_reason() {
    let text = read(&root().join("docs/configuration.md"));
    let (mut head, mut wrong, mut reasons) = (None, Vec::new(), 0);
    for (line, number) in text.lines().zip(1..) {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            // What is between a table's head and its rows is dashes.
            head = head.filter(|_| line.starts_with("|-"));
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let names = head.get_or_insert_with(|| cells.clone());
        let (has_default, has_reason) =
            (names.contains(&"default"), names.last().is_some_and(|name| name.contains("why")));
        if has_default
            && (!has_reason || cells.len() != names.len() || cells.last().is_some_and(|cell| cell.is_empty()))
        {
            wrong.push(format!("docs/configuration.md:{number}: {} has no reason", cells[0]));
        }
        reasons += usize::from(has_default);
    }
    assert!(reasons > 40, "{reasons}");
    assert_none(&wrong);
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = read(&path);
        for (number, link) in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().expect("a file has a folder").join(file) };
            if !target.exists() {
                wrong.push(format!("{}:{number}: {link}: there is no such file", shown(&path)));
            } else if !anchor.is_empty() && target.is_file() && !anchors(&read(&target)).contains(anchor) {
                wrong.push(format!("{}:{number}: {link}: that file has no such heading", shown(&path)));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_protocol_describes_every_code() {
    let text = read(&root().join("docs/PROTOCOL.md"));
    let errors = ErrorCode::ALL.iter().map(|code| format!("`{}`", code.as_str()));
    let closes = CloseCode::ALL.iter().map(|code| code.0.to_string());
    let wrong: Vec<String> = errors
        .chain(closes)
        .filter(|code| !text.contains(code.as_str()))
        .map(|code| format!("docs/PROTOCOL.md does not mention {code}"))
        .collect();
    assert_none(&wrong);
}

#[test]
fn the_conformance_table_is_what_the_tests_check() {
    let mut sections = BTreeMap::<(u32, Vec<u32>), Vec<String>>::new();
    for path in sources::files(root(), &["rs"]).iter().filter(|path| shown(path).starts_with("tests/conformance/")) {
        for name in read(path).lines().filter_map(|line| line.strip_prefix("fn rfc")?.strip_suffix("() {")) {
            let mut words = name.split('_').peekable();
            let mut number = || words.next_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
            let rfc = number().expect("a test is named after a standard");
            let section = std::iter::from_fn(number).collect();
            let sentence = words.collect::<Vec<_>>().join(" ").replace(" s ", "'s ").replace("utf 8", "UTF-8");
            sections.entry((rfc, section)).or_default().push(sentence.replace("http 1 1", "HTTP/1.1"));
        }
    }
    let mut table = String::from("| section | tests |\n|---|---|\n");
    for ((rfc, section), mut sentences) in sections {
        let section = section.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        sentences.sort_unstable();
        table += &format!("| RFC {rfc}, {section} | {} |\n", sentences.join("; "));
    }
    let text = read(&root().join("docs/websocket.md"));
    let mark = |which| format!("<!-- conformance: {which} -->\n");
    let found = text.split_once(&mark("begin")).and_then(|(_, rest)| rest.split_once(&mark("end")));
    let (found, _) = found.expect("docs/websocket.md has a place for the table");
    assert!(found == table, "docs/websocket.md should have this table:\n{table}");
}

#[test]
fn metrics_that_the_documents_name_exist() {
    let source = read(&root().join("src/http/metrics.rs"));
    let mut wrong = Vec::new();
    for (path, number, line) in document_lines() {
        for name in quoted(&line) {
            let Some(metric) = name.strip_prefix("fanfare_") else {
                continue;
            };
            let metric = metric.split('{').next().unwrap_or_default();
            let known =
                [metric, metric.trim_end_matches("_total")].iter().any(|name| source.contains(&format!("\"{name}\"")));
            if !known && !metric.is_empty() && metric != "*" {
                wrong.push(format!("{path}:{number}: `{name}` is not served"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_version_has_its_changes() {
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    let text = read(&root().join("CHANGELOG.md"));
    assert!(text.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md has no heading {heading:?}");
}

#[test]
fn the_readme_states_the_rust_that_suffices() {
    let promise = format!("Rust {} or later", env!("CARGO_PKG_RUST_VERSION"));
    assert!(read(&root().join("README.md")).contains(&promise), "README.md does not say {promise:?}");
}

#[test]
fn files_have_one_job() {
    let wrong: Vec<String> = sources::files(root(), &["rs", "mjs", "js", "ts", "py", "css", "html", "toml", "md"])
        .iter()
        .filter_map(|path| {
            let count = read(path).lines().count();
            (count > LINES_MAX).then(|| format!("{}: {count} lines, more than {LINES_MAX}", shown(path)))
        })
        .collect();
    assert_none(&wrong);
}

#[test]
fn no_file_depends_on_the_address_of_a_registry() {
    // Whoever installs through a mirror gets the same packages: lock files hold checksums.
    let hosts = [
        concat!("registry.n", "pmjs"),
        concat!("registry.y", "arnpkg"),
        concat!("python", "hosted"),
        concat!("py", "pi"),
        concat!("static.", "crates"),
        concat!("index.", "crates"),
    ];
    let ends = [".org", ".com", ".io"];
    let mut wrong = Vec::new();
    for path in sources::files(root(), &["json", "toml", "lock", "txt", "mjs", "js", "py", "md", "yml", "yaml", "rs"]) {
        for (number, line) in (1..).zip(read(&path).lines()) {
            let named = hosts.iter().any(|host| ends.iter().any(|end| line.contains(&format!("{host}{end}"))));
            if named {
                wrong.push(format!("{}:{number}: names the host of a registry", shown(&path)));
            }
        }
    }
    assert_none(&wrong);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn documents() -> Vec<PathBuf> {
    sources::files(root(), &["md"])
}

/// Every line of every document: its path, its number and its text.
fn document_lines() -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    for path in documents() {
        found.extend((1..).zip(read(&path).lines()).map(|(number, line)| (shown(&path), number, line.to_owned())));
    }
    found
}

/// What stands between back ticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The names of all settings, `section.key`, and of their sections, as config/fanfare.toml has them.
fn settings() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut settings, mut sections) = (BTreeSet::new(), BTreeSet::new());
    let mut section = String::new();
    for line in read(&root().join("config/fanfare.toml")).lines() {
        // Rules are shown, not set: their lines are comments.
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.trim_start_matches('[').split(']').next()) {
            name.clone_into(&mut section);
            sections.insert(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.is_empty()
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            settings.insert(format!("{section}.{key}"));
        }
    }
    (settings, sections)
}

/// The targets of all links in a document, but for code, each with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// The anchors of a document's headings: lower case, spaces as hyphens, no punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}
