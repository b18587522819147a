//! The JSON Schema of a configuration (draft 2020-12), for editors.
//!
//! There is no second list of keys to keep in step. Their names and what is said of them are those
//! of the reference; whether a value shown is the default, which words and numbers a key takes, and
//! which keys must be there is asked of the reader, by texts that have the key in the shortest file
//! around it ([`surroundings`]): what it refuses it explains.

mod surroundings;

use serde_json::{Map, Value, json};

use self::surroundings::surroundings;
use crate::Config;
use crate::reference::{self, Key, Table};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Durations as they are written, the largest unit first.
const DURATION: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?([0-9]+ns)?$";

/// Sizes as they are written.
const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)$";

/// What every file with these tables and keys must look like.
pub(crate) fn schema(commented: &str) -> Value {
    let (about, tables) = reference::read(commented);
    let mut root = object(&about);
    root["$schema"] = json!(DIALECT);
    root["title"] = json!("staunch.toml");
    for table in &tables {
        add(&mut root, table);
    }
    root["required"] = json!(["listener"]);
    root
}

fn object(about: &str) -> Value {
    json!({
        "type": "object",
        "description": about,
        "properties": {},
        "additionalProperties": false,
    })
}

/// Adds a table to those around it, which come before it in the file.
fn add(root: &mut Value, table: &Table<'_>) {
    let path = table.name.trim_matches(['[', ']']);
    let mut made = object(&table.about);
    for key in &table.keys {
        made["properties"][key.name] = value(path, key);
    }
    let required = required(path);
    if !required.is_empty() {
        made["required"] = json!(required);
    }
    if table.name.starts_with("[[") {
        made = json!({ "type": "array", "items": made });
    }
    let (around, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = root;
    for step in around.split('.').filter(|step| !step.is_empty()) {
        place = &mut place["properties"][step];
        if place["type"] == "array" {
            place = &mut place["items"];
        }
    }
    place["properties"][name] = made;
}

/// What a key takes.
fn value(table: &str, key: &Key<'_>) -> Value {
    let mut made = Map::new();
    made.insert("description".to_owned(), json!(key.about));
    let shown = literal(key.value);
    let place = if is_default(table, key) { "default" } else { "examples" };
    let answers = Answers::ask(table, key.name);
    made.extend(kind(&shown, &answers));
    let shown = if place == "examples" { json!([shown]) } else { shown };
    made.insert(place.to_owned(), shown);
    Value::Object(made)
}

/// The kind of a value, by one that is right and by what the reader says to those that are wrong.
fn kind(shown: &Value, answers: &Answers) -> Map<String, Value> {
    let plain = match shown {
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => match answers.range {
            Some((least, most)) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            None => json!({ "type": "integer" }),
        },
        Value::Array(_) if !answers.words.is_empty() => {
            json!({ "type": "array", "items": { "enum": answers.words } })
        }
        Value::Array(_) => json!({ "type": "array", "items": { "type": "string" } }),
        _ if !answers.words.is_empty() => json!({ "enum": answers.words }),
        _ if answers.is_duration => {
            json!({ "type": "string", "pattern": DURATION, "minLength": 2 })
        }
        _ if answers.is_size => json!({ "type": "string", "pattern": SIZE }),
        // Dates of TOML, too: editors take them for texts.
        _ => json!({ "type": "string" }),
    };
    let made = match &answers.or_word {
        Some(word) => json!({ "anyOf": [plain, { "const": word }] }),
        None => plain,
    };
    made.as_object().cloned().unwrap_or_default()
}

/// A value of TOML as one of JSON.
fn literal(written: &str) -> Value {
    let as_json = serde_json::from_str(written); // texts, numbers and lists are written alike
    as_json.unwrap_or_else(|_| json!(written))
}

/// Whether a file that has the value means the same as one that leaves it out.
fn is_default(table: &str, key: &Key<'_>) -> bool {
    // As many as the machine has cores: no schema can say how many that is.
    if (table, key.name) == ("runtime", "workers") {
        return false;
    }
    let mut left_out = surroundings(table).into_iter().filter(|it| !it.needs(key.name));
    left_out.any(|around| {
        let without = parse(&around.least());
        let with = parse(&around.with(key.name, key.value));
        matches!((without, with), (Ok(without), Ok(with)) if without == with)
    })
}

/// The keys that every table of this name must have: the reader misses them in an empty one, and
/// they are in the shortest of each meaning.
fn required(table: &str) -> Vec<String> {
    let mut common: Option<Vec<String>> = None;
    for around in surroundings(table) {
        let Err(errors) = parse(&around.empty()) else { return Vec::new() };
        let missing = errors.iter().filter(|error| {
            let of_it = error.key().rsplit_once('.').map(|(table, _)| without_indices(table));
            error.message().contains(" is missing in ") && of_it.as_deref() == Some(table)
        });
        let missing = missing.filter_map(|error| Some(error.key().rsplit_once('.')?.1.to_owned()));
        let missing: Vec<String> = missing.filter(|key| around.needs(key)).collect();
        common = Some(match common {
            None => missing,
            Some(common) => common.into_iter().filter(|key| missing.contains(key)).collect(),
        });
    }
    common.unwrap_or_default()
}

/// `listener.tls` of `listener[0].tls`.
fn without_indices(path: &str) -> String {
    let parts = path.split('.').map(|part| part.split('[').next().unwrap_or(part));
    parts.collect::<Vec<_>>().join(".")
}

fn parse(text: &str) -> Result<Config, crate::ConfigErrors> {
    Config::parse("schema", text)
}

/// What the reader says of a key when its value is wrong.
#[derive(Debug, Default)]
struct Answers {
    words: Vec<String>,
    range: Option<(u64, u64)>,
    or_word: Option<String>,
    is_duration: bool,
    is_size: bool,
}

impl Answers {
    fn ask(table: &str, key: &str) -> Answers {
        let mut answers = Answers::default();
        for wrong in ["\"???\"", "-1", "[\"???\"]"] {
            for around in surroundings(table) {
                let Err(errors) = parse(&around.with(key, wrong)) else { continue };
                let of_it = format!("`{key}` in ");
                for error in errors.iter().filter(|error| error.message().starts_with(&of_it)) {
                    answers.hear(error.message());
                }
            }
        }
        answers
    }

    fn hear(&mut self, message: &str) {
        let Some((_, expected)) = message.split_once(": must be ") else { return };
        let words = ["one of `", "a list of some of `"]
            .into_iter()
            .find_map(|begin| expected.strip_prefix(begin));
        if let Some(words) = words.filter(|_| self.words.is_empty()) {
            let words = words.split(';').next().unwrap_or(words);
            let words = words.split(", ").map(|word| word.trim_matches('`').to_owned());
            self.words = words.collect();
        }
        if let Some(range) = expected.strip_prefix("a whole number from ") {
            let mut numbers = range.split([' ', ',']).filter_map(|word| word.parse().ok());
            self.range = numbers.next().zip(numbers.next()).or(self.range);
        }
        self.is_duration |= expected.starts_with("a duration such as");
        self.is_size |= expected.starts_with("a size such as");
        let word = expected.rsplit_once(", or \"").map(|(_, word)| word.trim_end_matches('"'));
        if let Some(word) = word.filter(|word| word.bytes().all(|it| it.is_ascii_alphanumeric())) {
            self.or_word = Some(word.to_owned());
        }
    }
}
