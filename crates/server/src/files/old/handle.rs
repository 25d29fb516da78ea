//! An open file: a place in it, and one operation at a time.
//!
//! Every operation goes to the place it means before it reads or writes, so what a broken call left undone moves nothing. Writes are
//! done when they return: there is nothing to flush that could be lost.

use super::super::operation;
use super::super::trouble::{Trouble, Why};
use super::mode::{How, Mode};
use computesdk_core::{File, Files, OpenMode};
use computesdk_modal_proto::client::SeekWhence;
use std::io::SeekFrom;
use std::ops::Range;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, MutexGuard};

/// Bytes that are looked through at a time for the end of a line.
const LINE_PIECE: usize = 64 * 1024;
/// Largest file in which bytes in the middle are replaced by fewer or more: what follows is moved through memory.
const MAX_SPLICE: u64 = 100 << 20;

pub(super) struct Handle {
    path: String,
    mode: Mode,
    open: Mutex<Open>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

struct Open {
    /// `None` once it is closed, while outputs still know of it.
    file: Option<Box<dyn File>>,
    place: u64,
}

impl Open {
    fn file(&mut self) -> Result<&mut Box<dyn File>, Trouble> {
        self.file.as_mut().ok_or_else(|| Trouble::new(Why::Invalid, "The file was closed meanwhile"))
    }

    async fn size(&mut self) -> Result<u64, Trouble> {
        Ok(self.file()?.seek(SeekFrom::End(0)).await?)
    }

    async fn write_at(&mut self, place: u64, data: &[u8]) -> Result<(), Trouble> {
        let file = self.file()?;
        file.seek(SeekFrom::Start(place)).await?;
        file.write_all(data).await?;
        file.flush().await?;
        Ok(())
    }
}

impl Handle {
    pub(super) async fn open(path: String, mode: Mode, files: &dyn Files) -> Result<Self, Trouble> {
        operation::check(&path)?;
        // `Files` makes what is missing, with the directories above it; `open` of these clients does not.
        match mode.how {
            How::Existing if mode.writes => {
                if let Err(error) = files.stat(&path, true).await {
                    return Err(Trouble::at(&path, &error, files).await);
                }
            }
            How::Existing => {}
            How::Emptied | How::Kept => operation::check_parent(&path, files).await?,
            How::New => {
                operation::check_parent(&path, files).await?;
                if files.stat(&path, false).await.is_ok() {
                    return Err(Trouble::new(Why::Exists, format!("{path} exists")));
                }
            }
        }
        let how = match mode {
            Mode { how: How::Existing, writes: false, .. } => OpenMode::Read,
            Mode { how: How::Kept, reads: false, .. } => OpenMode::Append,
            Mode { how: How::Emptied | How::New, .. } => OpenMode::Write,
            _ => OpenMode::ReadWrite,
        };
        let opened = match files.open(&path, how, None).await {
            // Emptied, and now for reading too.
            Ok(_) if how == OpenMode::Write && mode.reads => files.open(&path, OpenMode::ReadWrite, None).await,
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) => return Err(Trouble::at(&path, &error, files).await),
        };
        let mut open = Open { file: Some(file), place: 0 };
        if mode.appends() {
            open.place = open.size().await?;
        }
        Ok(Self { path, mode, open: Mutex::new(open) })
    }

    /// Where the next `n` bytes are, or all that are left. The place is behind them from now on.
    pub(super) async fn read(&self, n: Option<u64>) -> Result<Range<u64>, Trouble> {
        let mut open = self.reading().await?;
        let size = open.size().await?;
        let start = open.place;
        let end = n.map_or(size, |n| size.min(start.saturating_add(n))).max(start);
        open.place = end;
        Ok(start..end)
    }

    /// Where the next line is, with its end.
    pub(super) async fn read_line(&self) -> Result<Range<u64>, Trouble> {
        let mut open = self.reading().await?;
        let start = open.place;
        let file = open.file()?;
        file.seek(SeekFrom::Start(start)).await?;
        let mut end = start;
        let mut piece = vec![0; LINE_PIECE];
        loop {
            let read = file.read(&mut piece).await?;
            if read == 0 {
                break;
            }
            if let Some(newline) = piece[..read].iter().position(|byte| *byte == b'\n') {
                end += newline as u64 + 1;
                break;
            }
            end += read as u64;
        }
        open.place = end;
        Ok(start..end)
    }

    /// At most `most` bytes from `from` on; fewer only at the end of the file.
    pub(super) async fn piece(&self, from: u64, most: u64) -> Result<Vec<u8>, Trouble> {
        let mut open = self.open.lock().await;
        let file = open.file()?;
        file.seek(SeekFrom::Start(from)).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        file.take(most).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    pub(super) async fn write(&self, data: &[u8]) -> Result<(), Trouble> {
        let mut open = self.writing().await?;
        let place = if self.mode.appends() { open.size().await? } else { open.place };
        open.write_at(place, data).await?;
        open.place = place + data.len() as u64;
        Ok(())
    }

    pub(super) async fn flush(&self) -> Result<(), Trouble> {
        Ok(self.open.lock().await.file()?.flush().await?)
    }

    pub(super) async fn seek(&self, offset: i64, whence: SeekWhence) -> Result<(), Trouble> {
        let mut open = self.open.lock().await;
        let from = match whence {
            SeekWhence::SeekSet => 0,
            SeekWhence::SeekCur => open.place,
            SeekWhence::SeekEnd => open.size().await?,
        };
        let before = || Trouble::new(Why::Invalid, "Invalid argument: the place is before the beginning of the file");
        open.place = from.checked_add_signed(offset).ok_or_else(before)?;
        Ok(())
    }

    /// Puts `data` where the bytes from the first place up to the second one are; without them, the beginning and the end of the file.
    pub(super) async fn replace(
        &self,
        (start, end): (Option<u64>, Option<u64>),
        data: &[u8],
        files: &dyn Files,
    ) -> Result<(), Trouble> {
        let mut open = self.writing().await?;
        let size = open.size().await?;
        let (start, end) = (start.unwrap_or(0), end.unwrap_or(size).min(size));
        if start > end {
            let problem = format!("Invalid argument: no bytes from {start} to {end} in a file of {size}");
            return Err(Trouble::new(Why::Invalid, problem));
        }
        if size + data.len() as u64 > MAX_SPLICE {
            let problem = format!("bytes are replaced in files of at most {MAX_SPLICE} bytes");
            return Err(Trouble::new(Why::TooLarge, problem));
        }
        // Read by name: what is open may be for writing alone.
        let mut before = match files.open(&self.path, OpenMode::Read, None).await {
            Ok(file) => file,
            Err(error) => return Err(Trouble::at(&self.path, &error, files).await),
        };
        let mut content = Vec::new();
        (&mut before).take(MAX_SPLICE).read_to_end(&mut content).await?;
        let bounds = usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        if bounds.end > content.len() {
            return Err(Trouble::new(Why::Other, "the file was changed while bytes in it were replaced"));
        }
        let shrinks = (data.len() as u64) < end - start;
        content.splice(bounds, data.iter().copied());
        if shrinks {
            // There is no cutting off an open file: it is emptied by name, and stays the same file.
            if let Err(error) = files.open(&self.path, OpenMode::Write, None).await {
                return Err(Trouble::at(&self.path, &error, files).await);
            }
        }
        open.write_at(0, &content).await
    }

    pub(super) async fn close(&self) -> Result<(), Trouble> {
        let file = self.open.lock().await.file.take();
        if let Some(mut file) = file {
            file.shutdown().await?;
        }
        Ok(())
    }

    async fn reading(&self) -> Result<MutexGuard<'_, Open>, Trouble> {
        if !self.mode.reads {
            return Err(Trouble::new(Why::Invalid, "The file is not open for reading"));
        }
        Ok(self.open.lock().await)
    }

    async fn writing(&self) -> Result<MutexGuard<'_, Open>, Trouble> {
        if !self.mode.writes {
            return Err(Trouble::new(Why::Invalid, "The file is not open for writing"));
        }
        Ok(self.open.lock().await)
    }
}
