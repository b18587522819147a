//! A body to a file.

use std::{
    io,
    path::{Path, PathBuf},
};

use hyper::body::Body;
use staunch_ledger::{Deadline, Kind, Ledger, Obligation};
use staunch_scope::current_task;
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
};

use super::{answer::Answer, error::ReadAnswerError};

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are written.
    pub bytes: u64,
    /// Bytes that there will be, if the server has said so and they came as they are.
    pub total: Option<u64>,
}

/// Bytes that are kept until they are written together.
const BUFFER: usize = 64 << 10;

impl Answer {
    /// Saves the body, of at most `limit` bytes, as `path`, and tells `progress` of each piece. How
    /// many bytes there were.
    ///
    /// It is written beside `path`, with `.part` at the end of its name, and takes its name when it
    /// is whole: whoever looks sees all of it or what was there before. It is not synced to the
    /// disk. What is not whole is removed.
    ///
    /// # Errors
    /// [`ReadAnswerError`]
    ///
    /// # Cancel safety
    /// Dropped before its end, it removes what was written. A write that is on its way in the
    /// kernel then ends by itself.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: staunch_http::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let answer = client.get("http://upstream/backup").send().await?.success()?;
    /// let saved = answer.save_to("backup", 1 << 30, |at| println!("{} bytes", at.bytes)).await?;
    /// println!("{saved} bytes, all in all");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_to(
        self,
        path: impl AsRef<Path>,
        limit: u64,
        mut progress: impl FnMut(Progress),
    ) -> Result<u64, ReadAnswerError> {
        let path = path.as_ref();
        let failed = |source| ReadAnswerError::Save { path: path.to_owned(), source };
        let (until, mut body) = (self.deadline(), self.into_body().limited(limit));
        let total = body.size_hint().exact();
        body.check()?;
        let account = Ledger::current().open_at(body.born_at(), Kind::FILE, until, current_task());
        account.label("download");
        let part = Part::of(path);
        // At once: a thread that creates it might do so after it was removed.
        let file = std::fs::File::create(&part.path).map_err(failed)?;
        let mut file = BufWriter::with_capacity(BUFFER, File::from_std(file));
        let mut bytes = 0;
        while let Some(piece) = body.chunk().await? {
            file.write_all(&piece).await.map_err(failed)?;
            bytes += piece.len() as u64;
            account.touch();
            progress(Progress { bytes, total });
        }
        file.flush().await.map_err(failed)?;
        part.becomes(path).map_err(failed)?;
        Ok(bytes)
    }

    /// The promise of what is read of it.
    fn deadline(&self) -> Obligation {
        let left = self.time_left();
        left.map_or(Obligation::EndsWithParent, |left| Obligation::EndsBy(Deadline::after(left)))
    }
}

/// A file that is removed unless it becomes whole.
struct Part {
    path: PathBuf,
}

impl Part {
    fn of(path: &Path) -> Part {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        Part { path: name.into() }
    }

    fn becomes(self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // it is gone already when it was whole
    }
}
