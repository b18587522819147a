//! What is below a prefix, and what changes there.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use staunch_http::AnswerLines;

use super::{Etcd, Streamed, int};
use crate::ask::{ANSWER_MAX, AskError, shown};

#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    #[serde(default, deserialize_with = "int")]
    pub(crate) revision: i64,
}

/// What is below a prefix.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    pub(crate) header: Header,
    #[serde(default)]
    pub(crate) kvs: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct KeyValue {
    #[serde(deserialize_with = "bytes")]
    pub(crate) key: Vec<u8>,
    #[serde(default, deserialize_with = "bytes")]
    pub(crate) value: Vec<u8>,
}

/// What has changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Changes {
    pub(crate) canceled: bool,
    pub(crate) cancel_reason: String,
    /// Not 0: what was asked for is older than all that is kept.
    #[serde(deserialize_with = "int")]
    pub(crate) compact_revision: i64,
    pub(crate) events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    #[serde(rename = "type", default)]
    pub(crate) kind: EventKind,
    pub(crate) kv: KeyValue,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) enum EventKind {
    /// The default of the message, which is left out.
    #[default]
    #[serde(rename = "PUT")]
    Put,
    #[serde(rename = "DELETE")]
    Delete,
}

/// Changes below a prefix, as they come.
pub(crate) struct Watch {
    lines: AnswerLines,
    url: String,
}

impl Etcd {
    /// What is below `prefix`, at most `limit` of it.
    pub(crate) async fn range(&mut self, prefix: &str, limit: usize) -> Result<Range, AskError> {
        let (key, end) = below(prefix);
        let question = json!({ "key": key, "range_end": end, "limit": limit });
        self.call("/v3/kv/range", &question).await
    }

    /// Changes below `prefix` from `revision` on.
    pub(crate) async fn watch(&mut self, prefix: &str, revision: i64) -> Result<Watch, AskError> {
        let (key, end) = below(prefix);
        let create = json!({ "key": key, "range_end": end, "start_revision": revision });
        let question = json!({ "create_request": create });
        let (asked, answer) = self.send("/v3/watch", &question, true).await?;
        self.at = asked;
        let url = answer.url().to_owned();
        Ok(Watch { lines: answer.lines(ANSWER_MAX as usize), url })
    }
}

impl Watch {
    /// The next changes; none when it only says that it is there.
    ///
    /// # Cancel safety
    /// Cancel safe: no change is lost.
    pub(crate) async fn next(&mut self) -> Result<Changes, AskError> {
        let nonsense = |reason| AskError::Nonsense { url: self.url.clone(), reason };
        let line = self.lines.next().await?;
        let line = line.ok_or_else(|| nonsense("the watch has ended".to_owned()))?;
        let told: Streamed<Changes> = serde_json::from_str(&line)
            .map_err(|error| nonsense(format!("{error}: {}", shown(line.as_bytes()))))?;
        told.or_nonsense(&self.url)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// The first key with `prefix`, and the first after all that have it, in base64.
fn below(prefix: &str) -> (String, String) {
    let mut end = prefix.as_bytes().to_vec();
    // Of UTF-8 no byte is 0xff, so that there is always a next one.
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    (STANDARD.encode(prefix), STANDARD.encode(end))
}

fn bytes<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}
