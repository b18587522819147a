//! The file that the CPU sampler keeps.
//!
//! The `pprof` crate makes a temporary file for its first profile, and keeps it, open, for those to
//! come. So it is on the process's ledger, like whatever else is open, until the process ends.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use staunch_kernel::FdKind;
use staunch_ledger::{Account, Kind, Ledger, Obligation};

static FILE: Mutex<Option<Account>> = Mutex::new(None);

/// Puts the sampler's file on the ledger, if it has one that is not there.
pub(super) fn account() {
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let ledger = Ledger::global();
    let Some(reconciliation) = file.is_none().then(|| ledger.reconcile().ok()).flatten() else {
        return;
    };
    let temporary = reconciliation.unaccounted.into_iter().find_map(|unaccounted| {
        let FdKind::File { path, .. } = &unaccounted.kind else { return None };
        is_samplers(path).then_some((unaccounted.fd, path.display().to_string()))
    });
    if let Some((fd, path)) = temporary {
        let why = Obligation::Perpetual("the CPU sampler keeps it for the profiles to come");
        let account = ledger.open(Kind::FILE, why);
        account.label(&path);
        account.set_fd(fd);
        *file = Some(account);
    }
}

/// As `tempfile` names them.
fn is_samplers(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent() == Some(&std::env::temp_dir())
        && name.is_some_and(|name| name.starts_with(".tmp"))
}

/// Ends the account of the file that the CPU sampler keeps open, if a profile was ever taken: the
/// file itself goes with the process. For the end of a run.
pub fn release_sampler_file() {
    let account = FILE.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(account);
}
