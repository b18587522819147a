//! `/debug/pprof/symbol`: the names of bare addresses, as Go's tools ask for them when they read
//! a profile as text. Other profiles carry their names.

use std::{collections::HashMap, fmt::Write};

use super::place::Place;
use crate::{
    reply::{self, Reply},
    route::Visit,
};

/// Takes addresses in a POST's body, `0x1234+0x5678`. A GET asks whether there are names.
pub(crate) fn symbol(visit: &Visit<'_>) -> Reply {
    let snapshot = visit.shared.ledger.snapshot();
    let places = snapshot.entries().iter().map(Place::of);
    let names: HashMap<u64, Place> = places.map(|place| (place.address(), place)).collect();
    let mut text = "num_symbols: 1\n".to_owned(); // any number but 0 means yes
    for word in visit.body.split(|byte| *byte == b'+') {
        let word = String::from_utf8_lossy(word);
        let Ok(address) = u64::from_str_radix(word.trim().trim_start_matches("0x"), 16) else {
            continue;
        };
        if let Some(place) = names.get(&Place::asked_for(address)) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address:#x} {}", place.name());
        }
    }
    reply::text(text)
}
