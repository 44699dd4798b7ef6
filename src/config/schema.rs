//! The table of settings: each key once, with its type, its range and the field it sets.
//!
//! What a key is called is said here and nowhere else; the file, the environment and the suggestions
//! go by this table, and a test holds `config/fanfare.toml` to it.

use std::ops::RangeInclusive;

use crate::auth::{KeyHash, PermissionClaims};
use crate::broker::Overflow;
use crate::limits::{Network, Rate};
use crate::protocol::topic::Filter;

use super::address;
use super::error::Fault;
use super::{Config, LogFormat};

/// One key: `T` is [`Config`], or a [`Draft`] for the keys of a rule.
pub(crate) struct Setting<T: 'static> {
    /// The full key, sections separated by dots.
    pub(crate) key: &'static str,
    pub(crate) field: Field<T>,
}

/// The type of a setting, and the place of `T` it goes to. Places are asked for only to be filled.
pub(crate) enum Field<T: 'static> {
    /// A number of things or bytes.
    Count { range: RangeInclusive<usize>, of: fn(&mut T) -> &mut usize },
    /// A time.
    Millis { range: RangeInclusive<u64>, of: fn(&mut T) -> &mut u64 },
    /// Yes or no.
    Flag { of: fn(&mut T) -> &mut bool },
    /// A word or a name.
    Text { put: fn(&mut T, &str) -> Result<(), Fault> },
    /// A list of those. `least` is the number of items it cannot do with less than.
    List { least: usize, check: fn(&str) -> Result<(), Fault>, of: fn(&mut T) -> &mut Vec<String> },
    /// A list of networks.
    Networks { of: fn(&mut T) -> &mut Vec<Network> },
    /// So many a second, or `off`.
    Rate { of: fn(&mut T) -> &mut Option<Rate> },
    /// A list of words that no message repeats.
    Secrets { of: fn(&mut T) -> &mut Vec<String> },
}

/// A rule while it is being read, before it is known whether it has a pattern.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) pattern: Option<Filter>,
    pub(crate) history_entries: Option<usize>,
    pub(crate) history_bytes: Option<usize>,
    pub(crate) history_age_ms: Option<u64>,
    pub(crate) overflow: Option<Overflow>,
    pub(crate) at: bool,
    pub(crate) from: bool,
}

/// A backend's key while it is being read.
#[derive(Default)]
pub(crate) struct KeyDraft {
    pub(crate) name: Option<String>,
    pub(crate) hash: Option<KeyHash>,
    pub(crate) permissions: PermissionClaims,
}

/// A year. Times are added to the clock, and a sum that overflows would be a panic.
const MILLIS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;
/// A terabyte: more than any machine this runs on, and far from where sums overflow.
const BYTES_MAX: usize = 1 << 40;
/// A gigabyte, the most that one message or body may be.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
const COUNT_MAX: usize = 1_000_000_000;

/// Every key outside the rules, in the order of `config/fanfare.toml`.
pub(crate) const SETTINGS: &[Setting<Config>] = &[
    list("server.listen", 1, address::check, |c| &mut c.server.listen),
    list("server.proxy_protocol", 0, address::check, |c| &mut c.server.proxy_protocol),
    list("server.hosts", 0, address::check_host, |c| &mut c.server.hosts),
    list("server.origins", 0, address::check_origin, |c| &mut c.server.origins),
    count("server.threads", 0..=1024, |c| &mut c.server.threads),
    networks("server.trusted_proxies", |c| &mut c.limits.clients.trusted_proxies),
    networks("server.allow", |c| &mut c.limits.clients.allow),
    networks("server.deny", |c| &mut c.limits.clients.deny),
    Setting { key: "auth.secrets", field: Field::Secrets { of: |c| &mut c.auth.secrets } },
    list("auth.secret_files", 0, any, |c| &mut c.auth.secret_files),
    list("auth.public_key_files", 0, any, |c| &mut c.auth.public_key_files),
    text("auth.jwks_file", |c, v| {
        v.clone_into(&mut c.auth.jwks_file);
        Ok(())
    }),
    // Each reading takes a thread for a moment.
    millis("auth.jwks_reread_ms", 100..=MILLIS_MAX, |c| &mut c.auth.jwks_reread_ms),
    list("auth.issuers", 0, any, |c| &mut c.auth.issuers),
    list("auth.audiences", 0, any, |c| &mut c.auth.audiences),
    millis("auth.leeway_ms", 0..=MILLIS_MAX, |c| &mut c.auth.leeway_ms),
    flag("auth.require_expiry", |c| &mut c.auth.require_expiry),
    millis("auth.first_command_ms", 1..=MILLIS_MAX, |c| &mut c.auth.first_command_ms),
    millis("auth.expiring_ms", 0..=MILLIS_MAX, |c| &mut c.auth.expiring_ms),
    flag("auth.protect_metrics", |c| &mut c.auth.protect_metrics),
    list("anonymous.subscribe", 0, check_pattern, |c| &mut c.anonymous.subscribe),
    list("anonymous.publish", 0, check_pattern, |c| &mut c.anonymous.publish),
    list("anonymous.presence", 0, check_pattern, |c| &mut c.anonymous.presence),
    list("anonymous.history", 0, check_pattern, |c| &mut c.anonymous.history),
    count("limits.connections", 1..=COUNT_MAX, |c| &mut c.limits.connections),
    count("limits.message_bytes", 1..=MESSAGE_BYTES_MAX, |c| &mut c.limits.message_bytes),
    count("limits.batch_items", 1..=COUNT_MAX, |c| &mut c.limits.batch_items),
    count("limits.subscriptions_per_connection", 1..=COUNT_MAX, |c| &mut c.limits.subscriptions_per_connection),
    count("limits.topics", 1..=COUNT_MAX, |c| &mut c.limits.topics),
    // A reply that does not fit would never be sent: the longest, an error that repeats a topic,
    // stays well below this.
    count("limits.control_lane_bytes", 4096..=BYTES_MAX, |c| &mut c.limits.control_lane_bytes),
    count("limits.retained_bytes", 1..=BYTES_MAX, |c| &mut c.limits.retained_bytes),
    count("limits.members_per_topic", 1..=COUNT_MAX, |c| &mut c.limits.members_per_topic),
    count("limits.idempotency_keys", 0..=COUNT_MAX, |c| &mut c.limits.idempotency_keys),
    millis("limits.idempotency_ms", 0..=MILLIS_MAX, |c| &mut c.limits.idempotency_ms),
    count("limits.behind_topics", 1..=COUNT_MAX, |c| &mut c.limits.behind_topics),
    count("limits.backlog_bytes", 1..=BYTES_MAX, |c| &mut c.limits.backlog_bytes),
    millis("limits.header_ms", 1..=MILLIS_MAX, |c| &mut c.limits.header_ms),
    count("limits.http_body_bytes", 1..=MESSAGE_BYTES_MAX, |c| &mut c.limits.http_body_bytes),
    count("limits.malformed_in_a_row", 1..=COUNT_MAX, |c| &mut c.limits.malformed_in_a_row),
    millis("limits.publish_wait_ms", 0..=MILLIS_MAX, |c| &mut c.limits.publish_wait_ms),
    networks("limits.exempt", |c| &mut c.limits.clients.exempt),
    // A prefix of no bits would put all of IPv6 under one limit.
    count("limits.ipv6_prefix", 1..=128, |c| &mut c.limits.clients.ipv6_prefix),
    count("limits.connections_per_address", 1..=COUNT_MAX, |c| &mut c.limits.clients.connections_per_address_max),
    rate("limits.attempts_per_address", |c| &mut c.limits.clients.attempts_per_address),
    rate("limits.commands_per_connection", |c| &mut c.limits.clients.per_connection.commands),
    rate("limits.publishes_per_connection", |c| &mut c.limits.clients.per_connection.publishes),
    rate("limits.bytes_per_connection", |c| &mut c.limits.clients.per_connection.bytes),
    rate("limits.commands_per_address", |c| &mut c.limits.clients.per_address.commands),
    rate("limits.publishes_per_address", |c| &mut c.limits.clients.per_address.publishes),
    rate("limits.bytes_per_address", |c| &mut c.limits.clients.per_address.bytes),
    rate("limits.publishes_per_topic", |c| &mut c.limits.clients.publishes_per_topic),
    rate("limits.refusals_per_connection", |c| &mut c.limits.clients.refusals_per_connection),
    count("limits.meters", 1..=COUNT_MAX, |c| &mut c.limits.clients.meters_max),
    flag("compression.enabled", |c| &mut c.compression.enabled),
    count("compression.min_bytes", 0..=BYTES_MAX, |c| &mut c.compression.min_bytes),
    // Below ten milliseconds a server would do little but ping.
    millis("keep_alive.heartbeat_ms", 10..=MILLIS_MAX, |c| &mut c.keep_alive.heartbeat_ms),
    millis("keep_alive.timeout_ms", 10..=MILLIS_MAX, |c| &mut c.keep_alive.timeout_ms),
    millis("drain.spread_ms", 0..=MILLIS_MAX, |c| &mut c.drain.spread_ms),
    millis("drain.deadline_ms", 0..=MILLIS_MAX, |c| &mut c.drain.deadline_ms),
    count("history.entries", 0..=COUNT_MAX, |c| &mut c.history.entries),
    count("history.bytes", 0..=BYTES_MAX, |c| &mut c.history.bytes),
    millis("history.age_ms", 0..=MILLIS_MAX, |c| &mut c.history.age_ms),
    millis("history.linger_ms", 0..=MILLIS_MAX, |c| &mut c.history.linger_ms),
    text("history.data_dir", |c, v| {
        v.clone_into(&mut c.history.data_dir);
        Ok(())
    }),
    // More often than that it would write all the time.
    millis("history.sync_ms", 100..=MILLIS_MAX, |c| &mut c.history.sync_ms),
    millis("presence.grace_ms", 0..=MILLIS_MAX, |c| &mut c.presence.grace_ms),
    text("log.format", |c, v| {
        c.log.format = match v {
            "auto" => LogFormat::Auto,
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return Err(Fault::value("auto, text or json", format!("{v:?}"))),
        };
        Ok(())
    }),
    text("log.level", |c, v| {
        check_log_level(v)?;
        v.clone_into(&mut c.log.level);
        Ok(())
    }),
];

/// Every key of a `[[topics]]` rule.
pub(crate) const RULE_SETTINGS: &[Setting<Draft>] = &[
    text("topics.pattern", |rule, v| match Filter::parse(v) {
        Ok(filter) => {
            rule.pattern = Some(filter);
            Ok(())
        }
        Err(error) => Err(Fault::value("a topic or pattern", format!("{v:?}: {error}"))),
    }),
    count("topics.history_entries", 0..=COUNT_MAX, |rule| rule.history_entries.insert(0)),
    count("topics.history_bytes", 0..=BYTES_MAX, |rule| rule.history_bytes.insert(0)),
    millis("topics.history_age_ms", 0..=MILLIS_MAX, |rule| rule.history_age_ms.insert(0)),
    text("topics.overflow", |rule, v| {
        rule.overflow = Some(match v {
            "gap" => Overflow::Gap,
            "latest" => Overflow::Latest,
            "disconnect" => Overflow::Disconnect,
            _ => return Err(Fault::value("gap, latest or disconnect", format!("{v:?}"))),
        });
        Ok(())
    }),
    flag("topics.at", |rule| &mut rule.at),
    flag("topics.from", |rule| &mut rule.from),
];

/// Every key of a `[[keys]]` entry.
pub(crate) const KEY_SETTINGS: &[Setting<KeyDraft>] = &[
    text("keys.name", |key, v| {
        // It is a subject, which is shown to others and stands for a segment in patterns.
        match Filter::parse(v) {
            Ok(Filter::Topic(_)) => {
                key.name = Some(v.to_owned());
                Ok(())
            }
            _ => Err(Fault::value("a name without white space and wildcards", format!("{v:?}"))),
        }
    }),
    text("keys.sha256", |key, v| match KeyHash::from_hex(v) {
        Some(hash) => {
            key.hash = Some(hash);
            Ok(())
        }
        // It may be the key itself, which must not be repeated.
        None => Err(Fault::value("the SHA-256 of the key, 64 hexadecimal digits", "something else")),
    }),
    list("keys.subscribe", 0, check_pattern, |key| &mut key.permissions.subscribe),
    list("keys.publish", 0, check_pattern, |key| &mut key.permissions.publish),
    list("keys.presence", 0, check_pattern, |key| &mut key.permissions.presence),
    list("keys.history", 0, check_pattern, |key| &mut key.permissions.history),
    flag("keys.admin", |key| &mut key.permissions.admin),
];

/// Every known key, those of rules and of backends' keys included.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    let rules = RULE_SETTINGS.iter().map(|setting| setting.key);
    let keys = KEY_SETTINGS.iter().map(|setting| setting.key);
    SETTINGS.iter().map(|setting| setting.key).chain(rules).chain(keys)
}

fn any(_: &str) -> Result<(), Fault> {
    Ok(())
}

fn check_pattern(text: &str) -> Result<(), Fault> {
    match Filter::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::value("a topic or pattern", format!("{text:?}: {error}"))),
    }
}

/// Whether some key begins with `section` and a dot.
pub(crate) fn is_section(section: &str) -> bool {
    SETTINGS.iter().filter_map(|setting| setting.key.strip_prefix(section)).any(|rest| rest.starts_with('.'))
}

/// Refuses what is neither a level nor a list of `TARGET=LEVEL`.
///
/// The log's own parser would take any word it does not know for a target, and `inof` would silence
/// everything but a target of that name.
pub(crate) fn check_log_level(filter: &str) -> Result<(), Fault> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let right = filter.split(',').all(|part| match part.split_once('=') {
        None => is_level(part),
        Some((target, level)) => {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.');
            !target.is_empty() && target.bytes().all(word) && is_level(level)
        }
    });
    if right {
        Ok(())
    } else {
        Err(Fault::value(
            "off, error, warn, info, debug, trace, or a list such as info,fanfare=debug",
            format!("{filter:?}"),
        ))
    }
}

const fn count<T>(key: &'static str, range: RangeInclusive<usize>, of: fn(&mut T) -> &mut usize) -> Setting<T> {
    Setting { key, field: Field::Count { range, of } }
}

const fn millis<T>(key: &'static str, range: RangeInclusive<u64>, of: fn(&mut T) -> &mut u64) -> Setting<T> {
    Setting { key, field: Field::Millis { range, of } }
}

const fn flag<T>(key: &'static str, of: fn(&mut T) -> &mut bool) -> Setting<T> {
    Setting { key, field: Field::Flag { of } }
}

const fn text<T>(key: &'static str, put: fn(&mut T, &str) -> Result<(), Fault>) -> Setting<T> {
    Setting { key, field: Field::Text { put } }
}

const fn networks<T>(key: &'static str, of: fn(&mut T) -> &mut Vec<Network>) -> Setting<T> {
    Setting { key, field: Field::Networks { of } }
}

const fn rate<T>(key: &'static str, of: fn(&mut T) -> &mut Option<Rate>) -> Setting<T> {
    Setting { key, field: Field::Rate { of } }
}

const fn list<T>(
    key: &'static str,
    least: usize,
    check: fn(&str) -> Result<(), Fault>,
    of: fn(&mut T) -> &mut Vec<String>,
) -> Setting<T> {
    Setting { key, field: Field::List { least, check, of } }
}
