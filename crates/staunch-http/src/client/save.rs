//! A body to a file.

use std::path::Path;

use hyper::body::Body;
use staunch_ledger::{Deadline, Obligation};

use super::{answer::Answer, error::ReadAnswerError};
use crate::saving::{Progress, Saving};

impl Answer {
    /// Saves the body, of at most `limit` bytes, as `path`, and tells `progress` of each piece. How
    /// many bytes there were.
    ///
    /// It is written beside `path`, to a name of its own that ends in `.part`, and takes its name when
    /// it is whole: whoever looks sees all of it or what was there before, also if several save to one
    /// path. It is not synced to the disk. What is not whole is removed.
    ///
    /// A symbolic link is followed, and stays. What is there and is no regular file (a directory, a
    /// device, a pipe, a socket) is an error before anything is written: it would be replaced.
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
        let mut saving = match Saving::begin(path, total, body.born_at(), until) {
            Ok(saving) => saving,
            Err(error) => {
                body.forsake();
                return Err(failed(error));
            }
        };
        while let Some(piece) = body.chunk().await? {
            match saving.write(&piece).await {
                Ok(at) => progress(at),
                Err(error) => {
                    body.forsake();
                    return Err(failed(error));
                }
            }
        }
        saving.end().await.map_err(failed)
    }

    /// The promise of what is read of it.
    fn deadline(&self) -> Obligation {
        let left = self.time_left();
        left.map_or(Obligation::EndsWithParent, |left| Obligation::EndsBy(Deadline::after(left)))
    }
}
