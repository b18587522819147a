//! Server-sent events as they are written (HTML, 9.2.5).

use std::{borrow::Cow, fmt::Write, time::Duration};

use bytes::Bytes;
use hyper::HeaderMap;

/// An event.
///
/// # Examples
/// ```
/// use staunch_http::Event;
///
/// let event = Event::data("two\nlines").named("note")?.with_id("7")?;
/// assert_eq!(event.encoded(), "event: note\nid: 7\ndata: two\ndata: lines\n\n");
/// # Ok::<_, staunch_http::EventError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) id: Option<Cow<'static, str>>,
    pub(crate) retry: Option<Duration>,
    pub(crate) data: Cow<'static, str>,
}

/// A field of an event cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {field} of an event, {value:?}, must have no line break and no NUL")]
pub struct EventError {
    field: &'static str,
    value: String,
}

impl Event {
    /// One with this data; each of its lines is one of the event's.
    pub fn data(data: impl Into<Cow<'static, str>>) -> Event {
        Event { data: data.into(), ..Event::default() }
    }

    /// With a name: clients listen to it by that. Without one it is a `message`.
    ///
    /// # Errors
    /// [`EventError`], when it has a line break.
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Result<Event, EventError> {
        self.name = Some(one_line("name", name.into())?);
        Ok(self)
    }

    /// With an id: a client that comes again says which it saw last ([`last_event_id`]).
    ///
    /// # Errors
    /// [`EventError`], when it has a line break or a NUL.
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Result<Event, EventError> {
        self.id = Some(one_line("id", id.into())?);
        Ok(self)
    }

    /// With the pause after which a client is to come again when the stream has ended; whole
    /// milliseconds.
    #[must_use]
    pub fn with_retry(mut self, pause: Duration) -> Event {
        self.retry = Some(pause);
        self
    }

    /// What it is named; `None` is a `message`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its id, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its data.
    pub fn text(&self) -> &str {
        &self.data
    }

    /// As it is sent.
    pub fn encoded(&self) -> String {
        let mut out = String::with_capacity(self.data.len() + 16);
        // To a string nothing fails to be written.
        if let Some(name) = &self.name {
            let _ = writeln!(out, "event: {name}");
        }
        if let Some(id) = &self.id {
            let _ = writeln!(out, "id: {id}");
        }
        if let Some(retry) = self.retry {
            let _ = writeln!(out, "retry: {}", retry.as_millis());
        }
        for line in lines(&self.data) {
            let _ = writeln!(out, "data: {line}");
        }
        out.push('\n');
        out
    }
}

impl From<&Event> for Bytes {
    fn from(event: &Event) -> Bytes {
        event.encoded().into()
    }
}

/// The lines of a text, however they end: with CR, LF, or both.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn one_line(
    field: &'static str,
    value: Cow<'static, str>,
) -> Result<Cow<'static, str>, EventError> {
    if value.contains(['\r', '\n', '\0']) {
        return Err(EventError { field, value: value.into_owned() });
    }
    Ok(value)
}

/// The id of the event that a client saw last, when it comes again (HTML, 9.2.4): UTF-8, as it was sent.
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("last-event-id")?.as_bytes();
    str::from_utf8(id).ok().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_is_one_of_the_event() {
        let check = |data: &'static str, encoded: &str| {
            assert_eq!(Event::data(data).encoded(), encoded, "{data:?}");
        };
        check("", "data: \n\n");
        check("a", "data: a\n\n");
        check("a\nb", "data: a\ndata: b\n\n");
        check("a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n");
        check("a\n", "data: a\ndata: \n\n");
        check("a\n\nevent: forged", "data: a\ndata: \ndata: event: forged\n\n");
    }

    #[test]
    fn a_field_has_one_line() {
        for bad in ["a\nb", "a\rb", "a\0"] {
            assert!(Event::data("").named(bad).is_err(), "{bad:?}");
            assert!(Event::data("").with_id(bad).is_err(), "{bad:?}");
        }
        let told = Event::data("").with_id("a\nb").unwrap_err().to_string();
        assert!(told.contains(r#""a\nb""#), "{told}");
    }
}
