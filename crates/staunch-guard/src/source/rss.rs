//! Resident memory of this process, from `/proc/self/statm` (`proc_pid_statm(5)`).

use std::{io, path::Path};

use super::file::{KernelFile, Opener, number};

/// Resident memory. The kernel adds it up from counters of each processor, so it may be off by some
/// pages for each.
pub(crate) struct Rss(KernelFile);

impl Rss {
    pub(crate) fn open(opener: &Opener) -> io::Result<Rss> {
        Ok(Rss(opener.open(Path::new("/proc/self/statm"))?))
    }

    /// Bytes; `None` if the kernel does not say.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let pages = resident(self.0.read(&mut [0; 128]).ok()?)?;
        pages.checked_mul(rustix::param::page_size() as u64)
    }
}

/// The second of the numbers, in pages.
fn resident(text: &[u8]) -> Option<u64> {
    number(text.split(|byte| *byte == b' ').nth(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_pages_are_the_second_number() {
        let check =
            |text: &str, expected| assert_eq!(resident(text.as_bytes()), expected, "{text}");
        check("1500 300 200 10 0 400 0\n", Some(300));
        check("1500 300", Some(300));
        check("1500", None);
        check("1500 many", None);
        check("", None);
    }
}
