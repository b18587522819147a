//! Notes for the ledger about what happened to an entry.

use staunch_ledger::{EntryId, Ledger, Observation};

/// Notes `text` for whoever reads the ledger, under the name `rule`, with what the entry is and
/// where it was born.
pub(crate) fn observe(ledger: Ledger, entry: EntryId, rule: &'static str, text: String) {
    let Some(entry) = ledger.entry(entry) else { return };
    ledger.observe(Observation {
        rule,
        kind: entry.kind(),
        born_at: entry.born_at(),
        text,
        at: ledger.now(),
    });
}
