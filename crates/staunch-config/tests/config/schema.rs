//! The schema that editors are given: it takes what the reader takes.

use std::sync::LazyLock;

use serde_json::{Value, json};
use staunch_config::Config;
use toml::de::{DeTable, DeValue};

use crate::LISTENER;

/// Made once: thousands of questions to the reader.
static SCHEMA: LazyLock<Value> = LazyLock::new(Config::schema);

/// Where `value` is not as `schema` says, if anywhere: as far as types, keys, words and numbers go.
fn wrong(schema: &Value, value: &DeValue<'_>, path: &str) -> Option<String> {
    let refuse = |why: &str| Some(format!("{path}: {why}"));
    if let Some(ways) = schema["anyOf"].as_array() {
        let is_one = ways.iter().any(|way| wrong(way, value, path).is_none());
        return if is_one { None } else { refuse("is none of these") };
    }
    let text = value.as_str();
    if schema["const"].is_string() && schema["const"].as_str() != text {
        return refuse("is another word");
    }
    if let Some(words) = schema["enum"].as_array() {
        let is_known = words.iter().any(|word| word.as_str() == text);
        return if is_known { None } else { refuse("is none of the words") };
    }
    match (schema["type"].as_str(), value) {
        (Some("object"), DeValue::Table(table)) => wrong_table(schema, table, path),
        (Some("array"), DeValue::Array(items)) => {
            items.iter().find_map(|item| wrong(&schema["items"], item.get_ref(), path))
        }
        (Some("integer"), DeValue::Integer(number)) => {
            let Ok(number) = number.as_str().parse::<u64>() else { return refuse("is too small") };
            let bound = |name: &str, otherwise| schema[name].as_u64().unwrap_or(otherwise);
            let fits = (bound("minimum", 0)..=bound("maximum", u64::MAX)).contains(&number);
            if fits { None } else { refuse("is too small or too large") }
        }
        (Some("string"), DeValue::String(_) | DeValue::Datetime(_))
        | (Some("boolean"), DeValue::Boolean(_))
        | (None, _) => None,
        _ => refuse("is of another type"),
    }
}

fn wrong_table(schema: &Value, table: &DeTable<'_>, path: &str) -> Option<String> {
    assert_eq!(schema["additionalProperties"], false, "{path}");
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for key in required {
        if !table.contains_key(key) {
            return Some(format!("{path}: needs {key}"));
        }
    }
    table.iter().find_map(|(key, value)| {
        let (key, path) = (key.get_ref(), format!("{path}.{}", key.get_ref()));
        match schema["properties"].get(&**key) {
            None => Some(format!("{path}: is no key")),
            Some(schema) => wrong(schema, value.get_ref(), &path),
        }
    })
}

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    let table = DeTable::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let found = wrong_table(&SCHEMA, table.get_ref(), "");
    assert_eq!(found.as_deref(), expected, "{text}");
}

#[test]
fn the_embedded_default_fits_with_every_key_set() {
    check(Config::default_text(), None);
    let set = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    };
    let all: Vec<&str> = Config::default_text().lines().map(set).collect();
    check(&all.join("\n"), None);
}

#[test]
fn the_examples_of_the_guide_fit() {
    let pages = [
        include_str!("../../../../docs/guide/editors.md"),
        include_str!("../../../../docs/guide/gateway.md"),
        include_str!("../../../../docs/guide/policies.md"),
    ];
    let mut checked = 0;
    for page in pages {
        for part in page.split("```toml\n").skip(1) {
            let example = part.split("```").next().unwrap();
            let policy = "[[policy]]\nname = 'p'\n";
            let policy = if example.starts_with("[policy.") { policy } else { "" };
            let listener = if example.contains("[[listener]]") { "" } else { LISTENER };
            check(&format!("{listener}{policy}{example}"), None);
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn what_the_reader_refuses_does_not_fit() {
    check("", Some(": needs listener"));
    check(
        &format!("{LISTENER}\nbacklog = 0"),
        Some(".listener.backlog: is too small or too large"),
    );
    check(&format!("{LISTENER}\nlisten_on = 1"), Some(".listener.listen_on: is no key"));
    check(&format!("[drain]\ngrac = '1s'\n{LISTENER}"), Some(".drain.grac: is no key"));
    check(&format!("[log]\nformat = 'xml'\n{LISTENER}"), Some(".log.format: is none of the words"));
    check(&format!("[drain]\ngrace = 10\n{LISTENER}"), Some(".drain.grace: is of another type"));
    check("[[listener]]\nname = 'a'\nprotocol = 'echo'", Some(".listener: needs listen"));
    check(
        &format!("{LISTENER}[listener.limits]\nconnections = 'many'"),
        Some(".listener.limits.connections: is none of these"),
    );
    check(&format!("{LISTENER}[listener.limits]\nconnections = 'unlimited'"), None);
}

/// Of the keys that are there by themselves, and of those of a table that is not.
#[test]
fn defaults_are_told_from_examples() {
    let of = |table: &str, key: &str| {
        let steps = table.split('.').map(str::to_owned).chain([key.to_owned()]);
        steps.fold(SCHEMA.clone(), |place, step| {
            let place = if place["type"] == "array" { place["items"].clone() } else { place };
            place["properties"][step].clone()
        })
    };
    assert_eq!(of("drain", "grace")["default"], "10s");
    assert_eq!(of("listener.limits", "handshake")["default"], "10s");
    assert_eq!(of("listener.limits", "datagram")["default"], "1472B");
    assert_eq!(of("service", "balance")["default"], "least-requests");
    assert_eq!(of("service.discovery", "ttl_max")["default"], "5m");
    assert_eq!(of("policy.rate", "redis_down")["default"], "pass");
    assert_eq!(of("service", "endpoints")["examples"][0][0], "10.0.0.7:8080");
    assert_eq!(of("listener", "name")["examples"][0], "echo");
    assert_eq!(of("listener", "protocol")["examples"][0], "echo");
    assert_eq!(of("runtime", "workers")["examples"][0], 2);
    assert_eq!(of("runtime", "workers")["minimum"], 1);
    let required = |table: &str| {
        let found = table.split('.').fold(SCHEMA.clone(), |place, step| {
            let place = if place["type"] == "array" { place["items"].clone() } else { place };
            place["properties"][step].clone()
        });
        found["required"].clone()
    };
    assert_eq!(required("listener.tls"), json!(["certificate", "key"]));
    assert_eq!(required("policy.jwt"), json!(["algorithms", "issuer", "audience"]));
    assert_eq!(required("policy.clients"), Value::Null);
    assert_eq!(required("service.discovery"), Value::Null);
}
