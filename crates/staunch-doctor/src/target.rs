//! What is examined.

use std::{fmt, fs, path::PathBuf};

use url::Url;

/// What a user points the doctor at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A service that shows itself over HTTP: Go's `net/http/pprof`, or a Staunch service's admin
    /// endpoint.
    Url(Url),
    /// A process of this machine, by its number.
    Process(u32),
    /// A saved dump.
    File(PathBuf),
}

/// Why something is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It is a URL, but not one that can be asked.
    #[error("`{text}` is no address of a service: {reason}; write http://HOST:PORT")]
    Url {
        /// What was given, without its credentials.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It looks like the address of a service, without `http://`.
    #[error("`{text}` is no file; for the service at that address write http://{text}")]
    NoScheme {
        /// What was given.
        text: String,
    },
    /// No process has that name.
    #[error("no process is called `{name}`; `ps -e` lists them, and --pid takes a number as well")]
    NoProcess {
        /// The name.
        name: String,
    },
    /// More than one has.
    #[error("`{name}` is the name of {} processes ({}): say which by its number", pids.len(), listed(pids))]
    Processes {
        /// The name.
        name: String,
        /// Their numbers.
        pids: Vec<u32>,
    },
}

fn listed(pids: &[u32]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if pids.len() > SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}

impl Target {
    /// A URL if it has a scheme, else a file.
    ///
    /// # Errors
    /// [`TargetError::Url`], [`TargetError::NoScheme`]
    ///
    /// # Examples
    /// ```
    /// use staunch_doctor::Target;
    /// assert!(matches!(Target::parse("http://127.0.0.1:6060"), Ok(Target::Url(_))));
    /// assert!(matches!(Target::parse("goroutines.txt"), Ok(Target::File(_))));
    /// assert!(Target::parse("ftp://example").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Target, TargetError> {
        let Some((scheme, _)) = text.split_once("://") else {
            return file(text);
        };
        let wrong = |reason: String| {
            let text = text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned();
            TargetError::Url { text, reason }
        };
        if !matches!(scheme, "http" | "https") {
            return Err(wrong(format!("its scheme is `{scheme}`")));
        }
        Url::parse(text).map(Target::Url).map_err(|error| wrong(error.to_string()))
    }

    /// The process with this number or, if it is none, the one process with this name: that of its
    /// executable or of its main thread.
    ///
    /// # Errors
    /// [`TargetError::NoProcess`], [`TargetError::Processes`]
    pub fn process(text: &str) -> Result<Target, TargetError> {
        if let Ok(pid) = text.parse() {
            return Ok(Target::Process(pid));
        }
        let own = std::process::id();
        let pids: Vec<u32> =
            processes().filter(|pid| *pid != own && is_called(*pid, text)).collect();
        let name = text.to_owned();
        match pids[..] {
            [] => Err(TargetError::NoProcess { name }),
            [pid] => Ok(Target::Process(pid)),
            _ => Err(TargetError::Processes { name, pids }),
        }
    }
}

/// A file, unless there is none and it reads like `HOST:PORT`.
fn file(text: &str) -> Result<Target, TargetError> {
    let path = PathBuf::from(text);
    let port = text.rsplit_once(':').map(|(_, port)| port.trim_end_matches('/'));
    if port.is_some_and(|port| port.parse::<u16>().is_ok()) && !path.exists() {
        return Err(TargetError::NoScheme { text: text.to_owned() });
    }
    Ok(Target::File(path))
}

fn processes() -> impl Iterator<Item = u32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok())
}

fn is_called(pid: u32, name: &str) -> bool {
    let thread = fs::read_to_string(format!("/proc/{pid}/comm"));
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    thread.is_ok_and(|thread| thread.trim_end() == name)
        || program.is_ok_and(|program| program.file_name().is_some_and(|file| file == name))
}

/// Without credentials: they are no part of what is shown.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Url(url) => {
                let mut url = url.clone();
                let _ = (url.set_username(""), url.set_password(None));
                f.write_str(url.as_str().trim_end_matches('/'))
            }
            Target::Process(pid) => write!(f, "process {pid}"),
            Target::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let target = Target::parse("http://me:secret@127.0.0.1:6060/").unwrap();
        assert_eq!(target.to_string(), "http://127.0.0.1:6060");
        let error = Target::parse("ftp://me:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn an_address_without_a_scheme_is_no_file() {
        let error = Target::parse("localhost:6060").unwrap_err().to_string();
        assert!(error.contains("write http://localhost:6060"), "{error}");
        assert!(matches!(Target::parse("dump:1.txt"), Ok(Target::File(_))));
    }

    #[test]
    fn a_process_is_known_by_number_or_name() {
        assert_eq!(Target::process("1"), Ok(Target::Process(1)));
        let error = Target::process("no such program").unwrap_err().to_string();
        assert!(error.contains("`no such program`"), "{error}");
    }
}
