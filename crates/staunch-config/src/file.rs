//! Reads the file: the only input and output of this crate.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::error::{ConfigError, ConfigErrors};

/// The most bytes a configuration may have. A thousand listeners with every key need less than
/// half of it; what is larger is a file given by mistake.
const BYTES_MAX: u64 = 1 << 20;

/// The text of the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let refuse = |message| {
        let error = ConfigError::about_file(path.display().to_string(), message);
        ConfigErrors::new(vec![error], 0)
    };
    let bytes = read_bounded(path).map_err(|error| refuse(describe(&error)))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(refuse("is larger than 1 MiB: no configuration is".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        refuse(format!("is not UTF-8 text: the first wrong byte is on line {line}"))
    })
}

/// At most one byte more than is allowed, whatever the size of the file says.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "is a folder: name a file in it".to_owned(),
        ErrorKind::PermissionDenied => "may not be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(contents: Option<&[u8]>, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("staunch.toml");
        if let Some(contents) = contents {
            fs::write(&path, contents).unwrap();
        }
        let found = read(&path).map_err(|errors| errors.to_string());
        let expected = expected.map(str::to_owned);
        assert_eq!(found, expected.map_err(|message| format!("{}: {message}", path.display())));
    }

    #[test]
    fn what_cannot_be_read_is_one_clear_line() {
        check(Some(b"[log]"), Ok("[log]"));
        check(None, Err("there is no such file"));
        check(
            Some(b"a = 1\nb = '\xff'\n"),
            Err("is not UTF-8 text: the first wrong byte is on line 2"),
        );
        let mebibyte = vec![b'\n'; 1 << 20];
        check(Some(&mebibyte), Ok(std::str::from_utf8(&mebibyte).unwrap()));
        let larger = vec![b'\n'; (1 << 20) + 1];
        check(Some(&larger), Err("is larger than 1 MiB: no configuration is"));
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let message = read(folder.path()).unwrap_err().to_string();
        assert_eq!(message, format!("{}: is a folder: name a file in it", folder.path().display()));
    }
}
