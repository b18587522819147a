//! What changes in a head.

use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

/// One change of the headers of a request or an answer. They are made in the order in which they come.
#[derive(Clone, Copy, Debug)]
pub enum Edit<'e> {
    /// None of this name is left, nor of one that some servers take for it (`_` for `-`).
    Remove(&'e HeaderName),
    /// This one, instead of what there was.
    Set(&'e HeaderName, &'e HeaderValue),
    /// This one, if there is none.
    Default(&'e HeaderName, &'e HeaderValue),
    /// This one, beside what there is.
    Append(&'e HeaderName, &'e HeaderValue),
}

impl Edit<'_> {
    /// What changes.
    pub fn name(&self) -> &HeaderName {
        match self {
            Edit::Remove(name)
            | Edit::Set(name, _)
            | Edit::Default(name, _)
            | Edit::Append(name, _) => name,
        }
    }

    /// Makes it.
    pub fn apply(self, headers: &mut HeaderMap) {
        match self {
            Edit::Remove(name) => remove(headers, name),
            Edit::Set(name, value) => drop(headers.insert(name, value.clone())),
            Edit::Default(name, value) => {
                headers.entry(name).or_insert_with(|| value.clone());
            }
            Edit::Append(name, value) => drop(headers.append(name, value.clone())),
        }
    }

    /// Whether a header is one that [`Remove`](Edit::Remove) of `name`, which is in lower case, takes
    /// out.
    pub fn is_taken_for(header: &[u8], name: &str) -> bool {
        let same = |(a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-');
        header.len() == name.len() && header.iter().zip(name.bytes()).all(same)
    }
}

fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
    if !name.as_str().contains('-') {
        return;
    }
    let is_other = |it: &&HeaderName| Edit::is_taken_for(it.as_str().as_bytes(), name.as_str());
    while let Some(other) = headers.keys().find(is_other).cloned() {
        headers.remove(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_header_is_gone_in_every_spelling() {
        let mut headers = HeaderMap::new();
        for name in ["x-who-is", "x_who-is", "x-who_is", "x-who-isnt"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        headers.append("x-who-is", HeaderValue::from_static("2"));
        Edit::Remove(&HeaderName::from_static("x-who-is")).apply(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-who-isnt"]);
    }
}
