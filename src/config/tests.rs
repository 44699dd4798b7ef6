//! What each source may say, and how it is told what is wrong.

use std::collections::BTreeSet;
use std::path::Path;

use super::schema::{Field, KEY_SETTINGS, RULE_SETTINGS, SETTINGS, Setting};
use super::{Config, Flags, LogFormat, file};
use crate::limits::Rate;

const COMPLETE: &str = include_str!("../../config/fanfare.toml");

/// What a file leads to: the configuration, or the problems, a line each.
fn load(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    let mut problems = Vec::new();
    file::read(text, Path::new("F"), &mut config, &mut problems);
    if problems.is_empty() { Ok(config) } else { Err(super::ConfigErrors(problems).to_string()) }
}

fn load_with(variables: &[(&str, &str)], flags: &Flags) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::load(None, variables, flags).map_err(|errors| errors.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(load(text).expect_err("it was accepted"), expected);
}

#[track_caller]
fn check_variable(name: &str, text: &str, expected: &str) {
    assert_eq!(load_with(&[(name, text)], &Flags::default()).expect_err("it was accepted"), expected);
}

#[test]
fn the_complete_file_holds_the_defaults() {
    assert_eq!(load(COMPLETE), Ok(Config::default()));
}

#[test]
fn the_complete_file_names_every_key_and_no_other() {
    let mut found = BTreeSet::new();
    let mut section = String::new();
    for line in COMPLETE.lines() {
        // The example of a rule is commented out, for there are none by default.
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.insert(format!("{section}.{key}"));
        }
    }
    let known: BTreeSet<String> = super::schema::keys().map(str::to_owned).collect();
    assert_eq!(found, known);
}

#[test]
fn the_example_of_a_rule_in_the_complete_file_is_right() {
    let example: String = COMPLETE
        .lines()
        .skip_while(|line| *line != "# [[topics]]")
        .take_while(|line| line.starts_with("# "))
        .map(|line| format!("{}\n", &line[2..]))
        .collect();
    let config = load(&example).expect("the example is right");
    assert_eq!(config.topics.len(), 1);
    assert_eq!(config.topics[0].history_entries, Some(1_000));
    assert_eq!(config.topics[0].history_bytes, Some(1_048_576));
    assert_eq!(config.topics[0].history_age_ms, Some(60_000));
}

#[test]
fn each_key_sets_a_field_of_its_own() {
    let mut seen: Vec<Config> = vec![Config::default()];
    for setting in SETTINGS {
        let mut config = Config::default();
        put_something(setting, &mut config);
        assert!(!seen.contains(&config), "{} changes nothing of its own", setting.key);
        seen.push(config);
    }
    for setting in KEY_SETTINGS {
        let value = match setting.key {
            "keys.name" => "\"b\"".to_owned(),
            "keys.sha256" => format!("{:?}", "1".repeat(64)),
            "keys.admin" => "true".to_owned(),
            _ => "[\"something\"]".to_owned(),
        };
        let key = setting.key.trim_start_matches("keys.");
        let others = [("name", "\"a\"".to_owned()), ("sha256", format!("{:?}", "0".repeat(64)))];
        let others = others.iter().filter(|(other, _)| *other != key);
        let others: String = others.map(|(other, value)| format!("{other} = {value}\n")).collect();
        let config = load(&format!("[[keys]]\n{others}{key} = {value}")).expect("a right key");
        assert!(!seen.contains(&config), "{} changes nothing of its own", setting.key);
        seen.push(config);
    }
    for setting in RULE_SETTINGS {
        let value = match setting.key {
            "topics.pattern" => "\"b\"",
            "topics.overflow" => "\"latest\"",
            "topics.at" | "topics.from" => "true",
            _ => "7",
        };
        let key = setting.key.trim_start_matches("topics.");
        let other = if key == "pattern" { "" } else { "pattern = \"a\"\n" };
        let config = load(&format!("[[topics]]\n{other}{key} = {value}")).expect("a right rule");
        assert!(!seen.contains(&config), "{} changes nothing of its own", setting.key);
        seen.push(config);
    }
}

fn put_something(setting: &Setting<Config>, config: &mut Config) {
    match &setting.field {
        Field::Count { range, of } => *of(config) = range.start() + 1,
        Field::Millis { range, of } => *of(config) = range.start() + 1,
        Field::Flag { of } => *of(config) ^= true,
        Field::Text { put } => put(config, "json").or_else(|_| put(config, "debug")).expect("one of the two is right"),
        Field::List { of, .. } => *of(config) = vec!["something".to_owned()],
        Field::Networks { of } => *of(config) = vec!["192.0.2.0/24".parse().expect("a network")],
        Field::Rate { of } => *of(config) = None,
        Field::Secrets { of } => *of(config) = vec!["something".to_owned()],
    }
}

#[test]
fn keys_of_backends_are_read_with_their_rights() {
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let text = format!("[[keys]]\nname = \"billing\"\nsha256 = {hash:?}\npublish = [\"invoices.>\"]\nadmin = true");
    let config = load(&text).expect("a right key");
    let [key] = &config.keys[..] else { panic!("one key") };
    assert_eq!((key.name.as_str(), key.hash.to_hex().as_str()), ("billing", hash));
    assert_eq!((&key.permissions.publish[..], key.permissions.admin), (&["invoices.>".to_owned()][..], true));
    assert!(config.asks() && !Config::default().asks());

    check("[[keys]]\nname = \"a\"", "F:1: keys: this key needs a name and its sha256");
    check(
        "[[keys]]\nname = \"a b\"\nsha256 = \"\"\n",
        "F:2: keys.name: expected a name without white space and wildcards, found \"a b\"\n\
         F:3: keys.sha256: expected the SHA-256 of the key, 64 hexadecimal digits, found something else",
    );
    check(&format!("{text}\n{text}"), "F:6: keys: the key in line 1 has the same name or hash");
    check("keys = 5", "F:1: keys: expected keys of backends, each headed [[keys]], found 5");
}

#[test]
fn no_message_repeats_a_secret() {
    let long = "hunter2".repeat(5);
    for text in [
        "secrets = [\"hunter2\"]".to_owned(),
        "secrets = \"hunter2\"".to_owned(),
        "secrets = [[\"hunter2\"]]".to_owned(),
        "secrets = { a = \"hunter2\" }".to_owned(),
        format!("secrets = [{long:?}, \"hunter2\"]"),
        "[[keys]]\nname = \"a\"\nsha256 = \"hunter2\"".to_owned(),
    ] {
        let problems = load(&format!("[auth]\n{text}")).expect_err("it is wrong");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
    let variable = [("FANFARE_AUTH__SECRETS", "hunter2")];
    let problems = load_with(&variable, &Flags::default()).expect_err("it is too short");
    assert!(problems.contains("at least 32 bytes") && !problems.contains("hunter2"), "{problems}");
    let config = load(&format!("[auth]\nsecrets = [{long:?}]")).expect("long enough");
    assert_eq!(config.auth.secrets, [long]);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn whoever_says_who_may_come_in_may_listen_beyond_loopback() {
    let config = |text: &str| load(&format!("[server]\nlisten = [\"0.0.0.0:7070\"]\n{text}")).expect("right");
    assert!(config("").refuse_open().is_err());
    assert!(config("[auth]\nleeway_ms = 5").refuse_open().is_err(), "that says nothing of who may come in");
    assert!(config("[auth]\njwks_file = \"keys.json\"").refuse_open().is_ok());
    assert!(config("[anonymous]\nsubscribe = [\"public.>\"]").refuse_open().is_ok());
}

#[test]
fn the_defaults_lie_within_their_ranges() {
    // The complete file holds the defaults and passes every check, but only if it is not empty.
    assert!(COMPLETE.contains("connections = 100_000"));
    assert!(load(COMPLETE).is_ok());
    assert!(Config::default().refuse_open().is_ok());
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_known_one() {
    check("[limits]\n\nconections = 5\n", "F:3: limits.conections: unknown key, did you mean limits.connections?");
    check("[limit]\nconnections = 5\n", "F:2: limit.connections: unknown key, did you mean limits.connections?");
    check("listen = []\n", "F:1: listen: unknown key, did you mean server.listen?");
    check(
        "[[topics]]\npattern = \"a\"\nhistory_entry = 5\n",
        "F:3: topics.history_entry: unknown key, did you mean topics.history_entries?",
    );
    check("[something.else]\nentirely = 1\n", "F:1: something.else: unknown key, the nearest known key is keys.name");
    check(
        "[server]\ninsecure_open = true",
        "F:2: server.insecure_open: unknown key, the nearest known key is auth.secret_files",
    );
}

#[test]
fn a_wrong_value_is_told_with_what_is_expected() {
    check(
        "[limits]\nconnections = \"many\"",
        "F:2: limits.connections: expected a whole number from 1 to 1000000000, found \"many\"",
    );
    check(
        "[limits]\nconnections = 0",
        "F:2: limits.connections: expected a whole number from 1 to 1000000000, found 0",
    );
    check("[drain]\nspread_ms = -1", "F:2: drain.spread_ms: expected a whole number from 0 to 31536000000, found -1");
    check("[drain]\nspread_ms = 1.5", "F:2: drain.spread_ms: expected a whole number from 0 to 31536000000, found 1.5");
    check("[history]\nage_ms = true", "F:2: history.age_ms: expected a whole number from 0 to 31536000000, found true");
    check(
        "[server]\nthreads = 99999999999999999999",
        "F:2: server.threads: expected a whole number from 0 to 1024, found 99999999999999999999",
    );
    check(
        "[server]\nlisten = \"127.0.0.1:1\"",
        "F:2: server.listen: expected a list of strings, found \"127.0.0.1:1\"",
    );
    check("[server]\nlisten = []", "F:2: server.listen: expected a list that is not empty, found []");
    check("log = 5", "F:1: log: expected a table, headed [log], found 5");
    check(
        "limits.message_bytes.x = 5",
        "F:1: limits.message_bytes: expected a whole number from 1 to 1073741824, found a table",
    );
    check("[log]\nformat = \"xml\"", "F:2: log.format: expected auto, text or json, found \"xml\"");
    check("topics = 5", "F:1: topics: expected rules, each headed [[topics]], found 5");
    check("[topics]\npattern = \"a\"", "F:1: topics: expected rules, each headed [[topics]], found a table");
}

#[test]
fn networks_and_rates_are_read_and_their_faults_told() {
    let config = load_with(
        &[
            ("FANFARE_LIMITS__EXEMPT", ""),
            ("FANFARE_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("FANFARE_LIMITS__PUBLISHES_PER_TOPIC", "off"),
            ("FANFARE_LIMITS__COMMANDS_PER_CONNECTION", "5/s burst 10"),
        ],
        &Flags::default(),
    );
    let clients = config.expect("right").limits.clients;
    assert_eq!(clients.exempt, []);
    assert_eq!(clients.trusted_proxies, ["10.0.0.0/8", "::1/128"].map(|text| text.parse().expect("a network")));
    assert_eq!((clients.publishes_per_topic, clients.per_connection.commands), (None, Some(Rate::new(5, 10))));
    check(
        "[limits]\nexempt = [\n  \"10.0.0.1/8\",\n  \"localhost\",\n]",
        "F:3: limits.exempt: expected a network such as 10.0.0.0/8 or 2001:db8::1, found \"10.0.0.1/8\": its first address is 10.0.0.0\n\
         F:4: limits.exempt: expected a network such as 10.0.0.0/8 or 2001:db8::1, found \"localhost\": neither an address nor ADDRESS/BITS",
    );
    check("[server]\nallow = \"::1\"", "F:2: server.allow: expected a list of strings, found \"::1\"");
    let rate = "limits.bytes_per_address: expected a rate such as 100/s burst 1000, or off, found";
    check("[limits]\nbytes_per_address = \"5\"", &format!("F:2: {rate} \"5\""));
    check("[limits]\nbytes_per_address = 5", &format!("F:2: {rate} 5"));
}

#[test]
fn a_fault_in_a_list_is_told_with_the_line_of_the_item() {
    check(
        "[server]\nlisten = [\n  \"127.0.0.1:1\",\n  \"nowhere\",\n  5,\n]",
        "F:4: server.listen: expected HOST:PORT such as 127.0.0.1:7070, [::1]:7070 or localhost:7070, or unix:/PATH, found \"nowhere\"\n\
         F:5: server.listen: expected a string, found 5",
    );
}

#[test]
fn all_problems_of_a_file_are_told_at_once_from_top_to_bottom() {
    check(
        "[server]\nthreads = -1\nlistne = []\n[drain]\nspread = 5\n[limits]\ntopics = 0\n",
        "F:2: server.threads: expected a whole number from 0 to 1024, found -1\n\
         F:3: server.listne: unknown key, did you mean server.listen?\n\
         F:5: drain.spread: unknown key, did you mean drain.spread_ms?\n\
         F:7: limits.topics: expected a whole number from 1 to 1000000000, found 0",
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let problems = load("[server]\nthreads = = 5\n[limits]\nconections = 1\n").expect_err("no TOML");
    let lines: Vec<&str> = problems.lines().collect();
    assert!(lines[0].starts_with("F:2: "), "{problems}");
    assert!(lines.contains(&"F:4: limits.conections: unknown key, did you mean limits.connections?"), "{problems}");
    let problems = load("[server]\nthreads = 1\nthreads = 2\n").expect_err("twice");
    assert!(problems.starts_with("F:3: "), "{problems}");
}

#[test]
fn rules_need_a_pattern_that_no_earlier_one_has() {
    check("[log]\n[[topics]]\nhistory_entries = 5", "F:2: topics: this rule has no pattern");
    check(
        "[[topics]]\npattern = \"a\"\n[[topics]]\npattern = \"a\"",
        "F:3: topics.pattern: the rule in line 1 has the same pattern and comes first",
    );
    let problems = load("[[topics]]\npattern = \"a..b\"").expect_err("an empty segment");
    assert!(problems.starts_with("F:2: topics.pattern: expected a topic or pattern, found \"a..b\": "), "{problems}");
    check("topics = [5]", "F:1: topics: expected a table, found 5");
}

#[test]
fn rules_keep_their_order() {
    let config =
        load("[[topics]]\npattern = \"b.*\"\nhistory_entries = 0\n[[topics]]\npattern = \"a\"").expect("right");
    let patterns: Vec<&str> = config.topics.iter().map(|rule| rule.pattern.as_str()).collect();
    assert_eq!(patterns, ["b.*", "a"]);
    assert_eq!(config.topics[0].history_entries, Some(0));
    assert_eq!(config.topics[1].history_entries, None);
}

#[test]
fn variables_set_what_their_names_say() {
    let config = load_with(
        &[
            ("FANFARE_LIMITS__CONNECTIONS", "2_500"),
            ("FANFARE_SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("FANFARE_SERVER__HOSTS", "[\"a.example\", \"b.example\"]"),
            ("FANFARE_SERVER__ORIGINS", ""),
            ("FANFARE_LOG__FORMAT", "json"),
        ],
        &Flags::default(),
    )
    .expect("right");
    assert_eq!(config.limits.connections, 2_500);
    assert_eq!(config.server.listen, ["127.0.0.1:1", "[::1]:2"]);
    assert_eq!(config.server.hosts, ["a.example", "b.example"]);
    assert_eq!(config.server.origins, Vec::<String>::new());
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn a_bracketed_address_is_no_list() {
    let config = load_with(&[("FANFARE_SERVER__LISTEN", "[::1]:7070")], &Flags::default());
    assert_eq!(config.expect("right").server.listen, ["[::1]:7070"]);
    let config = load_with(&[("FANFARE_SERVER__LISTEN", r#"["[::1]:7070"]"#)], &Flags::default());
    assert_eq!(config.expect("right").server.listen, ["[::1]:7070"]);
}

#[test]
fn variables_without_a_double_underscore_are_not_settings() {
    let variables = [
        ("FANFARE_URL", "x"),
        ("FANFARE_TOKEN", "x"),
        ("FANFARE_LOG", "x"),
        ("FANFARE_PORT_7070_TCP", "x"),
        ("OTHER_LIMITS__CONNECTIONS", "x"),
        ("fanfare_limits__connections", "x"),
    ];
    assert_eq!(load_with(&variables, &Flags::default()), Ok(Config::default()));
}

#[test]
fn what_is_wrong_with_a_variable_is_told_with_its_name() {
    check_variable(
        "FANFARE_LIMITS__CONECTIONS",
        "5",
        "FANFARE_LIMITS__CONECTIONS: limits.conections: unknown key, did you mean limits.connections?",
    );
    check_variable(
        "FANFARE_DRAIN__SPREAD_MS",
        "5s",
        "FANFARE_DRAIN__SPREAD_MS: drain.spread_ms: expected a whole number from 0 to 31536000000, found \"5s\"",
    );
    check_variable(
        "FANFARE_SERVER__LISTEN",
        "",
        "FANFARE_SERVER__LISTEN: server.listen: expected a list that is not empty, found []",
    );
    check_variable(
        "FANFARE_SERVER__HOSTS",
        "[a",
        "FANFARE_SERVER__HOSTS: server.hosts: expected a list such as a,b or [\"a\", \"b\"], found \"[a\"",
    );
    check_variable(
        "FANFARE_TOPICS__PATTERN",
        "a",
        "FANFARE_TOPICS__PATTERN: topics.pattern: rules for topics and keys of backends are read from a file only",
    );
}

#[test]
fn flags_have_the_last_word() {
    let flags = Flags { listen: vec!["127.0.0.1:9".to_owned()], insecure_open: false, log: Some("debug".to_owned()) };
    let variables = [("FANFARE_SERVER__LISTEN", "127.0.0.1:8"), ("FANFARE_LOG__LEVEL", "warn")];
    let config = load_with(&variables, &flags).expect("right");
    assert_eq!(config.server.listen, ["127.0.0.1:9"]);
    assert_eq!(config.log.level, "debug");
    let config = load_with(&variables, &Flags::default()).expect("right");
    assert_eq!(config.server.listen, ["127.0.0.1:8"]);
    assert_eq!(config.log.level, "warn");
}

#[test]
fn problems_of_all_sources_are_told_together() {
    let flags = Flags { listen: vec!["7070".to_owned()], insecure_open: false, log: Some("loud".to_owned()) };
    let problems = Config::load(
        Some(Path::new("/nonexistent/F")),
        [("FANFARE_LIMITS__TOPICS".to_owned(), "0".to_owned())].into_iter(),
        &flags,
    )
    .expect_err("nothing of it is right");
    let places: Vec<String> = problems.0.iter().map(|problem| problem.place.to_string()).collect();
    assert_eq!(places, ["/nonexistent/F", "FANFARE_LIMITS__TOPICS", "--listen", "FANFARE_LOG"]);
}

#[test]
fn a_misspelt_level_does_not_pass_for_a_target() {
    for right in ["info", "off", "INFO", "info,fanfare=debug", "fanfare::session=trace"] {
        assert!(load(&format!("[log]\nlevel = \"{right}\"")).is_ok(), "{right}");
    }
    for wrong in ["inof", "", "info,", "fanfare=", "=info", "fanfare=loud"] {
        assert!(load(&format!("[log]\nlevel = \"{wrong}\"")).is_err(), "{wrong}");
    }
}

#[test]
fn listening_beyond_loopback_needs_to_be_asked_for() {
    let open = |listen: &str, insecure_open| {
        let flags = Flags { listen: vec!["127.0.0.1:1".to_owned(), listen.to_owned()], insecure_open, log: None };
        load_with(&[], &flags).expect("right").refuse_open()
    };
    assert!(open("[::1]:7070", false).is_ok());
    assert!(open("0.0.0.0:7070", true).is_ok());
    assert!(open("unix:/run/fanfare.sock", false).is_ok());
    let proxied = load("[server]\nproxy_protocol = [\"10.0.0.1:7071\"]").expect("right");
    assert!(proxied.refuse_open().is_err());
    let refused = open("0.0.0.0:7070", false).expect_err("anybody could use it");
    assert!(refused.to_string().contains("0.0.0.0:7070"));
    assert!(refused.to_string().contains("--insecure-open"));
}
