//! Names that looks have in common.

use std::{collections::HashSet, sync::Arc};

/// Each name once, for as long as a look that is remembered has it: the next look has nearly all of
/// them again.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<Arc<str>>);

impl Names {
    /// The name `name`.
    pub(crate) fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Forgets those that no look has any more.
    pub(crate) fn forget_unused(&mut self) {
        self.0.retain(|name| Arc::strong_count(name) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_object_for_as_long_as_somebody_has_it() {
        let mut names = Names::default();
        let (a, again, b) = (names.of("a"), names.of("a"), names.of("b"));
        assert!(Arc::ptr_eq(&a, &again) && !Arc::ptr_eq(&a, &b));
        drop(b);
        names.forget_unused();
        assert_eq!((names.0.len(), &*a), (1, "a"));
    }
}
