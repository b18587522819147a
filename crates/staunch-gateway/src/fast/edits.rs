//! What a policy changes in the heads of a request and its answer, where lines are copied and not kept in
//! a map.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use staunch_http::wire::field;
use staunch_policy::{Edit, Pass};

/// Changes, in the order in which they are made. Most requests have none.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<Owned>);

#[derive(Debug)]
enum Owned {
    Remove(HeaderName),
    Set(HeaderName, HeaderValue),
    Default(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
}

impl Edits {
    #[cfg(test)]
    pub(crate) fn of(remove: &'static str, set: (&'static str, &'static str)) -> Edits {
        let (name, value) = (HeaderName::from_static(set.0), HeaderValue::from_static(set.1));
        Edits(vec![Owned::Remove(HeaderName::from_static(remove)), Owned::Set(name, value)])
    }

    /// Those of the request's head.
    pub(crate) fn of_request(pass: &Pass<'_>) -> Edits {
        let mut edits = Edits::default();
        pass.request(&mut |edit| edits.0.push(Owned::from(edit)));
        edits
    }

    /// Those of the answer's head, whoever it comes from.
    pub(crate) fn of_answer(pass: &Pass<'_>) -> Edits {
        let mut edits = Edits::default();
        pass.answer(&mut |edit| edits.0.push(Owned::from(edit)));
        edits
    }

    /// Whether a header that was there stays.
    pub(crate) fn keep(&self, name: &str) -> bool {
        self.0.iter().all(|edit| match edit {
            Owned::Remove(removed) => !Edit::is_taken_for(name.as_bytes(), removed.as_str()),
            Owned::Set(set, _) => !name.eq_ignore_ascii_case(set.as_str()),
            Owned::Default(..) | Owned::Append(..) => true,
        })
    }

    /// Writes the headers that come to those that are there and stay, of which `is_there` knows.
    pub(crate) fn write(&self, out: &mut Vec<u8>, is_there: impl Fn(&str) -> bool) {
        let mut new: Vec<(&HeaderName, &HeaderValue)> = Vec::new();
        for edit in &self.0 {
            match edit {
                Owned::Remove(name) => {
                    new.retain(|(it, _)| !Edit::is_taken_for(it.as_ref(), name.as_str()));
                }
                Owned::Set(name, value) => {
                    new.retain(|(it, _)| *it != name);
                    new.push((name, value));
                }
                Owned::Default(name, value) => {
                    if !is_there(name.as_str()) && new.iter().all(|(it, _)| *it != name) {
                        new.push((name, value));
                    }
                }
                Owned::Append(name, value) => new.push((name, value)),
            }
        }
        for (name, value) in new {
            field(out, name.as_ref(), value.as_bytes());
        }
    }

    /// Makes them where headers are kept in a map.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for edit in &self.0 {
            let edit = match edit {
                Owned::Remove(name) => Edit::Remove(name),
                Owned::Set(name, value) => Edit::Set(name, value),
                Owned::Default(name, value) => Edit::Default(name, value),
                Owned::Append(name, value) => Edit::Append(name, value),
            };
            edit.apply(headers);
        }
    }
}

impl From<Edit<'_>> for Owned {
    fn from(edit: Edit<'_>) -> Owned {
        match edit {
            Edit::Remove(name) => Owned::Remove(name.clone()),
            Edit::Set(name, value) => Owned::Set(name.clone(), value.clone()),
            Edit::Default(name, value) => Owned::Default(name.clone(), value.clone()),
            Edit::Append(name, value) => Owned::Append(name.clone(), value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use httparse::{EMPTY_HEADER, Request};
    use proptest::prelude::*;

    use super::*;
    use crate::fast::lines::Lines;

    const NAMES: [&str; 4] = ["x-one", "x_one", "x-two", "accept"];

    /// What is left of a head with these headers, by the lines and by a map: sorted, as `name: value`.
    fn both(headers: &[usize], edits: &Edits) -> (Vec<String>, Vec<String>) {
        let mut map = HeaderMap::new();
        let line = |(number, name): (usize, &usize)| {
            map.append(NAMES[*name], HeaderValue::from(number));
            format!("{}: {number}\r\n", NAMES[*name])
        };
        let lines: Vec<String> = headers.iter().enumerate().map(line).collect();
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat());
        let mut room = [EMPTY_HEADER; 16];
        let mut request = Request::new(&mut room);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        let lines = Lines { head: head.as_bytes(), headers: request.headers };
        let mut out = Vec::new();
        lines.write(&mut out, |header| edits.keep(header.name));
        let is_there = |name: &str| {
            lines.headers.iter().any(|it| it.name.eq_ignore_ascii_case(name) && edits.keep(it.name))
        };
        edits.write(&mut out, is_there);
        edits.apply(&mut map);
        let text = String::from_utf8(out).unwrap();
        let mut of_lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let mut of_map: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        of_lines.sort();
        of_map.sort();
        (of_lines, of_map)
    }

    proptest! {
        #[test]
        fn lines_change_as_a_map_does(
            headers in prop::collection::vec(0..NAMES.len(), 0..6),
            edits in prop::collection::vec((0..4, 0..NAMES.len(), 100..110_u16), 0..6),
        ) {
            let owned = |(kind, name, value): (i32, usize, u16)| {
                let name = HeaderName::from_static(NAMES[name]);
                let value = HeaderValue::from(value);
                match kind {
                    0 => Owned::Remove(name),
                    1 => Owned::Set(name, value),
                    2 => Owned::Default(name, value),
                    _ => Owned::Append(name, value),
                }
            };
            let edits = Edits(edits.into_iter().map(owned).collect());
            let (of_lines, of_map) = both(&headers, &edits);
            prop_assert_eq!(of_lines, of_map);
        }
    }
}
