//! The limit on open file descriptors.

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors a program needs besides its connections: standard streams, epoll, a listener.
const RESERVE: u64 = 32;

/// Raises the soft limit to the hard one, and fails if that is too low for `connections`.
///
/// # Errors
///
/// When the hard limit has no room for `connections`, or the kernel refuses the new limit.
pub fn raise_for(connections: usize) -> anyhow::Result<()> {
    raise()?;
    let needed = connections as u64 + RESERVE;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => bail!(
            "{connections} connections need {needed} file descriptors and the hard limit is \
             {limit}: raise it (`ulimit -Hn {needed}`) or ask for fewer connections"
        ),
        _ => Ok(()),
    }
}

/// Raises the soft limit to the hard one.
///
/// # Errors
///
/// When the kernel refuses the new limit.
pub fn raise() -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .with_context(|| format!("cannot raise the file descriptor limit to {maximum:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_named_with_its_remedy() {
        raise_for(1).unwrap();
        let Some(limit) = getrlimit(Resource::Nofile).maximum else { return };
        let error = raise_for(limit as usize).unwrap_err().to_string();
        assert!(error.contains(&limit.to_string()) && error.contains("ulimit -Hn"), "{error}");
    }
}
