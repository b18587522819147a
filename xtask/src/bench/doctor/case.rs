//! The cases of the corpus: dumps, and the truth beside them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::ops::RangeBounds;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use staunch_diagnosis::{Heap, History, Snapshot, Tasks};
use staunch_doctor::source::go::{
    GoroutineDumpLimits, PROFILE_BYTES_MAX, read_goroutine_dump, read_heap_profile,
};

pub(super) struct Case {
    pub(super) name: String,
    pub(super) truth: Truth,
    dumps: Vec<Tasks>,
    /// The heap at the end.
    heap: Option<Heap>,
}

/// Two halves of the corpus, by a hash of the case's name.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Half {
    A,
    B,
}

#[derive(Deserialize)]
pub(super) struct Truth {
    pub(super) kind: Kind,
    /// What must be reported, and may be.
    pub(super) reportable: Vec<Site>,
    #[serde(default)]
    pub(super) sites: Vec<Observed>,
    pub(super) label: Option<Label>,
    pub(super) pair: Option<String>,
    pub(super) cause_lines: Option<CauseLines>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Leaking,
    Correct,
    Nonblocking,
    Blind,
}

/// Where tasks wait for ever.
#[derive(Deserialize)]
pub(super) struct Site {
    pub(super) spawn_line: Option<u32>,
    pub(super) spawn_external: Option<Vec<String>>,
    pub(super) wait_lines: Vec<u32>,
    pub(super) counts: Vec<u64>,
}

/// What was seen at a site: more than one needs to find it.
#[derive(Deserialize)]
pub(super) struct Observed {
    #[serde(default)]
    pub(super) spawn_lines: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) wait_functions: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Label {
    pub(super) subtype: String,
}

/// The lines that differ between a bug and its repaired twin.
#[derive(Deserialize)]
pub(super) struct CauseLines {
    bug_lines: Vec<u32>,
    insert_after_bug_line: Vec<u32>,
    main_diff: Option<MainDiff>,
}

#[derive(Deserialize)]
struct MainDiff {
    bug_lines: Vec<u32>,
    insert_after_bug_line: Vec<u32>,
}

impl CauseLines {
    /// Lines of the program as it was dumped; those of the twin are numbered otherwise.
    pub(super) fn lines(&self) -> impl Iterator<Item = u32> + '_ {
        let main = self.main_diff.iter();
        let main = main.flat_map(|it| it.bug_lines.iter().chain(&it.insert_after_bug_line));
        self.bug_lines.iter().chain(&self.insert_after_bug_line).chain(main).copied()
    }
}

impl Case {
    /// What a watch would show: all dumps, a second apart, and at the last of them the heap.
    pub(super) fn watched(&self) -> History {
        let last = self.dumps.len().saturating_sub(1);
        let mut history = self.history(..last);
        for tasks in &self.dumps[last..] {
            let (tasks, heap) = (Some(tasks.clone()), self.heap.clone());
            let snapshot = Snapshot { tasks, heap, ..Snapshot::default() };
            history.add(Duration::from_secs(last as u64), snapshot);
        }
        history
    }

    /// What the doctor is shown: the dumps of `range`, a second apart.
    pub(super) fn history(&self, range: impl RangeBounds<usize>) -> History {
        let mut history = History::new();
        for (index, tasks) in self.dumps.iter().enumerate().filter(|it| range.contains(&it.0)) {
            let snapshot = Snapshot { tasks: Some(tasks.clone()), ..Snapshot::default() };
            history.add(Duration::from_secs(index as u64), snapshot);
        }
        history
    }

    pub(super) fn half(&self) -> Half {
        // A repaired twin must be in the half of its bug.
        let (_, name) = self.name.split_once('-').unwrap_or(("", &self.name));
        let hash =
            name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        if hash.count_ones() % 2 == 0 { Half::A } else { Half::B }
    }

    #[cfg(test)]
    pub(super) fn without_dumps(name: &str, truth: Truth) -> Case {
        Case { name: name.to_owned(), truth, dumps: Vec::new(), heap: None }
    }

    pub(super) fn is_real_service(&self) -> bool {
        self.name.starts_with("ok-real-")
    }
}

/// All cases below `corpus`, in the order of their names.
pub(super) fn load(corpus: &Path) -> anyhow::Result<Vec<Case>> {
    let mut folders: Vec<_> = fs::read_dir(corpus)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    folders.retain(|folder| folder.join("truth.json").is_file());
    folders.sort();
    ensure!(!folders.is_empty(), "no case in it: expected folders with a truth.json");
    folders.iter().map(|folder| load_case(folder)).collect()
}

fn load_case(folder: &Path) -> anyhow::Result<Case> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let truth = File::open(folder.join("truth.json"))?;
    let truth = serde_json::from_reader(BufReader::new(truth))
        .with_context(|| format!("the truth of {name}"))?;
    let dumps = (0..3).map(|index| load_dump(&folder.join(format!("snap-{index}.txt"))));
    let dumps = dumps.collect::<anyhow::Result<_>>().with_context(|| name.clone())?;
    let heap = load_heap(&folder.join("heap.pb.gz")).with_context(|| name.clone())?;
    Ok(Case { name, truth, dumps, heap })
}

fn load_heap(path: &Path) -> anyhow::Result<Option<Heap>> {
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(read_heap_profile(File::open(path)?, PROFILE_BYTES_MAX)?))
}

fn load_dump(path: &Path) -> anyhow::Result<Tasks> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(read_goroutine_dump(BufReader::new(file), &GoroutineDumpLimits::default())?)
}
