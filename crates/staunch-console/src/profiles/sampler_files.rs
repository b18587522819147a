//! The files that the CPU sampler keeps.
//!
//! The `pprof` crate makes temporary files for its first profile, and keeps them, open, for those
//! to come. So they are on the process's ledger, like whatever else is open, until the process ends.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use staunch_kernel::FdKind;
use staunch_ledger::{Account, Kind, Ledger, Obligation};

static FILES: Mutex<Vec<Account>> = Mutex::new(Vec::new());

/// Puts the files that the sampler has now on the ledger, and takes those off that it no longer
/// has.
pub(super) fn account() {
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.clear();
    let ledger = Ledger::global();
    let Ok(reconciliation) = ledger.reconcile() else { return }; // then nothing can be said
    for unaccounted in &reconciliation.unaccounted {
        let FdKind::File { path, .. } = &unaccounted.kind else { continue };
        if is_samplers(path) {
            let why = Obligation::Perpetual("the CPU sampler keeps it for the profiles to come");
            let account = ledger.open(Kind::FILE, why);
            account.label(&path.display().to_string());
            account.set_fd(unaccounted.fd);
            files.push(account);
        }
    }
}

/// As `tempfile` names them.
fn is_samplers(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent() == Some(&std::env::temp_dir())
        && name.is_some_and(|name| name.starts_with(".tmp"))
}

/// Ends the accounts of the files that the CPU sampler keeps open, if a profile was ever taken: the
/// files themselves go with the process. For the end of a run.
pub fn release_sampler_files() {
    let files = std::mem::take(&mut *FILES.lock().unwrap_or_else(PoisonError::into_inner));
    drop(files);
}
