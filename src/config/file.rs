//! The TOML file.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::error::{Fault, Place, Problem};
use super::nearest::nearest;
use super::schema::{self, Draft, Field, KEY_SETTINGS, KeyDraft, RULE_SETTINGS, SETTINGS, Setting};
use super::value::{At, Given};
use super::{BackendKey, Config, TopicRule};

/// Takes over what `text` says, and adds what is wrong with it to `problems`.
pub(crate) fn read(text: &str, path: &Path, config: &mut Config, problems: &mut Vec<Problem>) {
    let first = problems.len();
    let mut reader = Reader { text, path, problems };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let start = error.span().map(|span| span.start);
        let fault = Fault::Syntax(error.message().lines().collect::<Vec<_>>().join(", "));
        reader.refuse(start, None, fault);
    }
    for (key, value) in table.get_ref() {
        reader.top_level(key, value, config);
    }
    // The table is sorted by key; people read from top to bottom.
    problems[first..].sort_by_key(|problem| match &problem.place {
        Place::File { line, .. } => *line,
        _ => None,
    });
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn top_level(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        let name = key.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Array(rules) if name == "topics" => self.rules(rules, config),
            DeValue::Array(keys) if name == "keys" => self.keys(keys, config),
            _ if name == "topics" || name == "keys" => {
                let found = Given::from_toml(value).it.describe();
                let what = if name == "topics" { "rules" } else { "keys of backends" };
                self.refuse(
                    Some(key.span().start),
                    Some(name.to_owned()),
                    Fault::value(format!("{what}, each headed [[{name}]]"), found),
                );
            }
            DeValue::Table(section) if !section.is_empty() => {
                for (key, value) in section {
                    let full = format!("{name}.{}", key.get_ref());
                    self.setting(SETTINGS, full, key, value, config);
                }
            }
            DeValue::Table(_) if schema::is_section(name) => {}
            _ if schema::is_section(name) => {
                let found = Given::from_toml(value).it.describe();
                self.refuse(
                    Some(key.span().start),
                    Some(name.to_owned()),
                    Fault::value(format!("a table, headed [{name}]"), found),
                );
            }
            _ => self.setting(SETTINGS, name.to_owned(), key, value, config),
        }
    }

    fn rules(&mut self, rules: &DeArray<'_>, config: &mut Config) {
        // Where each rule that was taken over begins, beside `config.topics`.
        let mut lines: Vec<usize> = Vec::new();
        for rule in rules {
            let start = rule.span().start;
            let DeValue::Table(table) = rule.get_ref() else {
                let found = Given::from_toml(rule).it.describe();
                self.refuse(Some(start), Some("topics".to_owned()), Fault::value("a table", found));
                continue;
            };
            let mut draft = Draft::default();
            for (key, value) in table {
                let full = format!("topics.{}", key.get_ref());
                self.setting(RULE_SETTINGS, full, key, value, &mut draft);
            }
            let Some(pattern) = draft.pattern else {
                if !table.contains_key("pattern") {
                    self.refuse(Some(start), Some("topics".to_owned()), Fault::NoPattern);
                }
                continue;
            };
            let same = config.topics.iter().position(|rule| rule.pattern == pattern);
            if let Some(index) = same {
                self.refuse(Some(start), Some("topics.pattern".to_owned()), Fault::SamePattern(lines[index]));
                continue;
            }
            lines.push(self.line(start));
            config.topics.push(TopicRule {
                pattern,
                history_entries: draft.history_entries,
                history_bytes: draft.history_bytes,
                history_age_ms: draft.history_age_ms,
                overflow: draft.overflow,
                at: draft.at,
                from: draft.from,
            });
        }
    }

    fn keys(&mut self, keys: &DeArray<'_>, config: &mut Config) {
        // Where each key that was taken over begins, beside `config.keys`.
        let mut lines: Vec<usize> = Vec::new();
        for key in keys {
            let start = key.span().start;
            let DeValue::Table(table) = key.get_ref() else {
                let found = Given::from_toml(key).it.describe();
                self.refuse(Some(start), Some("keys".to_owned()), Fault::value("a table", found));
                continue;
            };
            let mut draft = KeyDraft::default();
            for (key, value) in table {
                let full = format!("keys.{}", key.get_ref());
                self.setting(KEY_SETTINGS, full, key, value, &mut draft);
            }
            let (Some(name), Some(hash)) = (draft.name, draft.hash) else {
                if !table.contains_key("name") || !table.contains_key("sha256") {
                    self.refuse(Some(start), Some("keys".to_owned()), Fault::NoKey);
                }
                continue;
            };
            if let Some(index) = config.keys.iter().position(|key| key.name == name || key.hash == hash) {
                self.refuse(Some(start), Some("keys".to_owned()), Fault::SameKey(lines[index]));
                continue;
            }
            lines.push(self.line(start));
            config.keys.push(BackendKey { name, hash, permissions: draft.permissions });
        }
    }

    fn setting<T>(
        &mut self,
        settings: &'static [Setting<T>],
        full: String,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        target: &mut T,
    ) {
        let Some(setting) = settings.iter().find(|setting| setting.key == full) else {
            let (nearest, close) = nearest(&full, schema::keys());
            self.refuse(Some(key.span().start), Some(full), Fault::Unknown { nearest, close });
            return;
        };
        let field: &Field<T> = &setting.field;
        let At { start, it } = Given::from_toml(value);
        if let Err(faults) = it.put(field, target) {
            for (item, fault) in faults {
                self.refuse(Some(item.unwrap_or(start)), Some(full.clone()), fault);
            }
        }
    }

    fn refuse(&mut self, start: Option<usize>, key: Option<String>, fault: Fault) {
        let line = start.map(|start| self.line(start));
        self.problems.push(Problem { place: Place::file(self.path, line), key, fault });
    }

    fn line(&self, start: usize) -> usize {
        let before = &self.text.as_bytes()[..start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}
