//! Variables of the environment: `FANFARE_SECTION__KEY`.

use toml::de::DeTable;

use super::Config;
use super::error::{Fault, Place, Problem};
use super::nearest::nearest;
use super::schema::{Field, SETTINGS};
use super::value::{At, Given};

/// Takes over what the variables say, and adds what is wrong with them to `problems`.
///
/// A name without a double underscore is no setting: the command line has some of its own, and
/// container runtimes add names such as `FANFARE_PORT_7070_TCP` for a service called fanfare.
pub(crate) fn read(
    variables: impl Iterator<Item = (String, String)>,
    config: &mut Config,
    problems: &mut Vec<Problem>,
) {
    let mut settings: Vec<(String, String)> =
        variables.filter(|(name, _)| name.strip_prefix("FANFARE_").is_some_and(|rest| rest.contains("__"))).collect();
    // The environment has no order of its own, and what is reported should not change by itself.
    settings.sort();
    for (name, text) in settings {
        let key = name["FANFARE_".len()..].replace("__", ".").to_ascii_lowercase();
        for fault in set(&key, &text, config) {
            problems.push(Problem { place: Place::Variable(name.clone()), key: Some(key.clone()), fault });
        }
    }
}

fn set(key: &str, text: &str, config: &mut Config) -> Vec<Fault> {
    if key.starts_with("topics.") || key.starts_with("keys.") {
        return vec![Fault::FileOnly];
    }
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
        let (nearest, close) = nearest(key, SETTINGS.iter().map(|setting| setting.key));
        return vec![Fault::Unknown { nearest, close }];
    };
    let given = match &setting.field {
        Field::Count { .. } | Field::Millis { .. } => match text.trim().replace('_', "").parse() {
            Ok(whole) => Given::Whole(whole),
            Err(_) => Given::Text(text.to_owned()),
        },
        Field::Flag { .. } => match text.trim() {
            "true" => Given::Flag(true),
            "false" => Given::Flag(false),
            _ => Given::Text(text.to_owned()),
        },
        Field::Text { .. } | Field::Rate { .. } => Given::Text(text.trim().to_owned()),
        Field::List { .. } | Field::Networks { .. } | Field::Secrets { .. } => match list(text) {
            Ok(given) => given,
            Err(fault) => return vec![fault],
        },
    };
    match given.put(&setting.field, config) {
        Ok(()) => Vec::new(),
        Err(faults) => faults.into_iter().map(|(_, fault)| fault).collect(),
    }
}

/// A list as TOML writes it, or its items with commas between them.
fn list(text: &str) -> Result<Given, Fault> {
    let text = text.trim();
    if text.starts_with('[') && !is_bracketed_address(text) {
        let document = format!("list = {text}");
        return match DeTable::parse(&document) {
            Ok(table) => match table.get_ref().get("list") {
                Some(value) => Ok(Given::from_toml(value).it),
                None => Ok(Given::List(Vec::new())),
            },
            Err(_) => Err(Fault::value(r#"a list such as a,b or ["a", "b"]"#, format!("{text:?}"))),
        };
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(|item| At { start: 0, it: Given::Text(item.to_owned()) });
    Ok(Given::List(items.collect()))
}

/// Whether the bracket at the start is that of an IPv6 address, as in `[::1]:7070`.
fn is_bracketed_address(text: &str) -> bool {
    text.split_once("]:").is_some_and(|(inner, _)| !inner.contains(['"', '\'', ' ']))
}
