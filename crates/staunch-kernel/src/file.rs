//! Small files that somebody has named: a certificate, a list, a secret.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// The bytes of a regular file, and no more than one more than `most`: who gets as many has the wrong file.
/// Blocks for as long as its disk takes.
///
/// A pipe is none: whoever opens one waits until somebody writes to it, which may be never; nor is a device
/// or a folder.
///
/// # Errors
/// Those of `open(2)` and `read(2)`, and [`ErrorKind::InvalidInput`] of what is no regular file.
///
/// # Examples
/// ```
/// use std::{io::ErrorKind, path::Path};
/// let error = staunch_kernel::read_file(Path::new("/dev/null"), 1 << 20).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// ```
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is a pipe or a device, and no file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_nobody_waits_for_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_file(&file, 5).unwrap(), b"12345");
        assert_eq!(read_file(&file, 3).unwrap(), b"1234", "one more than there may be");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(read_file(&pipe, 5).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(read_file(folder.path(), 5).unwrap_err().kind(), ErrorKind::IsADirectory);
        let missing = read_file(&folder.path().join("none"), 5).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
