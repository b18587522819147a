//! Goroutines, threads and tasks: what each does, where, and who started it.

use std::sync::Arc;
use std::time::Duration;

/// All tasks of a target at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tasks {
    /// Whose tasks they are: functions are named differently, and other rules hold.
    pub runtime: Runtime,
    /// Tasks with the same stack, birth and state, one group for each.
    pub groups: Vec<TaskGroup>,
    /// The runtime itself has found that no task can go on: `fatal error: all goroutines are
    /// asleep - deadlock!`, or a JVM's `Found one Java-level deadlock`.
    pub deadlocked: bool,
}

/// What runs the tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Runtime {
    /// Go: goroutines.
    #[default]
    Go,
    /// A Java virtual machine: threads.
    Jvm,
    /// Staunch: async tasks.
    Staunch,
}

/// Tasks that cannot be told apart but by their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskGroup {
    /// What they do.
    pub state: State,
    /// Where, innermost call first.
    pub frames: Arc<[Frame]>,
    /// The line that started them; `None` for a main task or where it is unknown.
    pub birth: Option<Frame>,
    /// Labels (`runtime/pprof` labels), sorted by key.
    pub labels: Vec<(String, String)>,
    /// How many there are: at least as many as `members`.
    pub count: u64,
    /// Each of them, where the source tells them apart.
    pub members: Vec<Member>,
}

/// One task of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Its id, never used twice within one run of the target.
    pub id: u64,
    /// The id of the task that started it.
    pub creator: Option<u64>,
    /// For how long it has been waiting, at least. Go says so from one minute on.
    pub waited: Option<Duration>,
    /// Words among the arguments of its frames that may be addresses. A source may leave them out
    /// beyond so many members.
    pub pointers: Vec<Pointer>,
}

/// A word among the arguments of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The index of the frame.
    pub frame: u16,
    /// The index of the word in the frame's arguments, aggregates flattened.
    pub argument: u8,
    /// Whether the runtime vouches for the value: Go writes `?` behind a word that may be stale.
    pub certain: bool,
    /// The word.
    pub value: u64,
}

/// One call on a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// The function with its package: `net/http.(*conn).serve`.
    pub function: Arc<str>,
    /// The source file, as the binary names it.
    pub file: Arc<str>,
    /// The line in the file; 0 is unknown.
    pub line: u32,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// What rules go by.
    pub waiting: Waiting,
    /// As the runtime says it, without the time: `chan receive (nil chan)`.
    pub text: Arc<str>,
}

/// For what a task waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Waiting {
    /// For nothing: it runs.
    Running,
    /// For a processor.
    Runnable,
    /// For the kernel: a system call, or foreign code.
    Syscall,
    /// For a descriptor to be ready.
    Io,
    /// For a time to pass.
    Sleep,
    /// For somebody to receive what it sends.
    ChanSend,
    /// For somebody to send or close.
    ChanReceive,
    /// For a channel that does not exist, for ever.
    NilChan,
    /// For one of several channels, or a time.
    Select,
    /// For nothing that could happen: `select {}`.
    SelectNoCases,
    /// For a mutex, or for writers and readers of a read-write lock to leave.
    Lock,
    /// For the writer of a read-write lock to leave.
    ReadLock,
    /// For a wait group, countdown or barrier.
    WaitGroup,
    /// For a condition to be signalled.
    Cond,
    /// For a semaphore of unknown purpose.
    Semaphore,
    /// The runtime's own: collector, finalizers, scavenger.
    System,
    /// Something that no rule knows.
    Other,
}

impl Waiting {
    /// Whether it waits for another task, so that it waits for ever if that one is gone.
    pub fn is_for_others(self) -> bool {
        matches!(
            self,
            Waiting::ChanSend
                | Waiting::ChanReceive
                | Waiting::NilChan
                | Waiting::Select
                | Waiting::SelectNoCases
                | Waiting::Lock
                | Waiting::ReadLock
                | Waiting::WaitGroup
                | Waiting::Cond
                | Waiting::Semaphore
        )
    }
}
