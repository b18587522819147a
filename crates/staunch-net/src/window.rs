//! Memory with bytes in the middle of it: filled at the end, used up from the front.

/// Memory of which `start..end` holds bytes.
#[derive(Debug)]
pub(crate) struct Window {
    memory: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Window {
    pub(crate) fn new(memory: Box<[u8]>) -> Window {
        Window { memory, start: 0, end: 0 }
    }

    /// The bytes in it.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.memory[self.start as usize..self.end as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether bytes fill it from end to end.
    pub(crate) fn is_full(&self) -> bool {
        self.start == 0 && self.end as usize == self.memory.len()
    }

    /// Room for more bytes; moves those that are there to the front if it must.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.end as usize == self.memory.len() {
            self.memory.copy_within(self.start as usize..self.end as usize, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.memory[self.end as usize..]
    }

    /// `count` bytes of [`Window::spare`] were filled.
    pub(crate) fn fill(&mut self, count: usize) {
        self.end += count as u32;
    }

    /// Uses up the first `count` bytes and returns them.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start as usize;
        self.start += count as u32;
        &self.memory[start..start + count]
    }

    /// Its size.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Forgets the bytes in it.
    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Changes the size, to one that the bytes in it fit into.
    pub(crate) fn resize(&mut self, capacity: usize) {
        let mut memory = vec![0; capacity].into_boxed_slice();
        let length = self.filled().len();
        memory[..length].copy_from_slice(self.filled());
        *self = Window { memory, start: 0, end: length as u32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_move_to_the_front_only_when_they_must() {
        let mut window = Window::new(vec![0; 10].into());
        window.spare().copy_from_slice(b"0123456789");
        window.fill(10);
        assert!(window.is_full());
        assert_eq!(window.take(7), b"0123456");
        assert!(!window.is_full());
        assert_eq!(window.spare().len(), 7);
        assert_eq!(window.filled(), b"789");
        assert_eq!(window.take(3), b"789");
        assert!(window.is_empty());
    }

    #[test]
    fn bytes_survive_a_change_of_size() {
        let mut window = Window::new(vec![0; 4].into());
        window.spare().copy_from_slice(b"abcd");
        window.fill(4);
        window.take(1);
        window.resize(8);
        assert_eq!(window.filled(), b"bcd");
        assert_eq!(window.spare().len(), 5);
        window.resize(3);
        assert_eq!(window.filled(), b"bcd");
        assert!(window.is_full());
    }
}
