//! What a thread of a JVM has to do with an object: how a monitor or synchronizer is a [`Pointer`].

use super::Pointer;

/// What a thread does with the object whose address a [`Pointer`] of a JVM is. Addresses are those
/// of one dump: the collector moves objects, so that two dumps cannot be compared by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Monitor {
    /// It holds it: `- locked`, or an ownable synchronizer.
    Held,
    /// It wants to enter it: `- waiting to lock`.
    Entering,
    /// It is parked until that object lets it go on: `- parking to wait for`.
    Parked,
    /// It waits to be notified, and has left it for that time: `- waiting on`.
    Waiting,
}

impl Monitor {
    const ALL: [Monitor; 4] = [Monitor::Held, Monitor::Entering, Monitor::Parked, Monitor::Waiting];

    /// The pointer that says so, of the object at `address`, in the call with index `frame`.
    #[must_use]
    pub fn pointer(self, frame: u16, address: u64) -> Pointer {
        let place = Monitor::ALL.iter().position(|it| *it == self).unwrap_or_default();
        Pointer { frame, argument: place as u8, certain: true, value: address }
    }

    /// What a pointer of a JVM's thread says.
    #[must_use]
    pub fn of(pointer: &Pointer) -> Option<Monitor> {
        Monitor::ALL.get(usize::from(pointer.argument)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_says_what_was_put_in() {
        for monitor in Monitor::ALL {
            assert_eq!(Monitor::of(&monitor.pointer(3, 7)), Some(monitor));
        }
    }
}
