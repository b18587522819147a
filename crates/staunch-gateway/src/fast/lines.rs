//! The lines of a head, copied as they stand.

use httparse::Header;

use staunch_http::wire::{end_in_crlf, field};

/// A head that was read.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'b, 'h> {
    /// Its bytes, with the empty line.
    pub(crate) head: &'b [u8],
    pub(crate) headers: &'h [Header<'b>],
}

impl Lines<'_, '_> {
    /// Writes the lines of those headers that `keep` keeps; what stands together is copied at once.
    pub(crate) fn write(self, out: &mut Vec<u8>, mut keep: impl FnMut(&Header<'_>) -> bool) {
        if !end_in_crlf(self.head) {
            let kept = self.headers.iter().filter(|header| keep(header));
            return kept.for_each(|it| field(out, it.name.as_bytes(), it.value));
        }
        let mut copied_from = None;
        for header in self.headers {
            let at = self.place(header);
            if keep(header) {
                copied_from.get_or_insert(at);
            } else if let Some(from) = copied_from.take() {
                out.extend_from_slice(self.head.get(from..at).unwrap_or_default());
            }
        }
        if let Some(from) = copied_from {
            let end = self.head.len().saturating_sub(b"\r\n".len());
            out.extend_from_slice(self.head.get(from..end).unwrap_or_default());
        }
    }

    /// Where the line of a header begins.
    fn place(self, header: &Header<'_>) -> usize {
        header.name.as_ptr() as usize - self.head.as_ptr() as usize
    }
}

#[cfg(test)]
mod tests {
    use httparse::{EMPTY_HEADER, Request};

    use super::*;

    fn written(head: &str, without: &str) -> String {
        let mut headers = [EMPTY_HEADER; 8];
        let mut request = Request::new(&mut headers);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        let mut out = Vec::new();
        let lines = Lines { head: head.as_bytes(), headers: request.headers };
        lines.write(&mut out, |header| !without.contains(header.name));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_that_are_kept_are_copied_in_their_order() {
        let head = "GET / HTTP/1.1\r\na: 1\r\nb:2 \r\nc: 3\r\nd:\r\n\r\n";
        assert_eq!(written(head, ""), "a: 1\r\nb:2 \r\nc: 3\r\nd:\r\n");
        assert_eq!(written(head, "a"), "b:2 \r\nc: 3\r\nd:\r\n");
        assert_eq!(written(head, "b"), "a: 1\r\nc: 3\r\nd:\r\n");
        assert_eq!(written(head, "bd"), "a: 1\r\nc: 3\r\n");
        assert_eq!(written(head, "abcd"), "");
        assert_eq!(written("GET / HTTP/1.1\r\n\r\n", ""), "");
    }

    #[test]
    fn lines_that_end_otherwise_are_written_anew() {
        let head = "GET / HTTP/1.1\r\na: 1\nb: 2\r\nc: 3\r\n\n";
        assert_eq!(written(head, "b"), "a: 1\r\nc: 3\r\n");
    }
}
