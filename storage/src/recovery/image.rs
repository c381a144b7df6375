//! What a segment holds after a crash, put together from its file and from the journal's entries for it.

use crate::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use crate::index::LogId;
use crate::segments::segment_path;
use bytes::Bytes;
use protocol::types::Offset;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes read from the file at once.
const WINDOW_BYTES: usize = 256 << 10;

/// One segment as it can be read: journal entries lie over the file, younger ones over older ones (engine rule 10).
pub(crate) struct Image {
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    pub(crate) file_len: u64,
    overlay: BTreeMap<u64, Bytes>,
    window: Vec<u8>,
    window_at: u64,
}

impl Image {
    /// Opens the segment's file, if it is there, with `O_DIRECT`: what the page cache holds proves nothing (engine rule 4).
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        log: LogId,
        base: Offset,
        overlay: BTreeMap<u64, Bytes>,
    ) -> io::Result<Image> {
        let file = match disk.open(&segment_path(log, base), OpenMode::Direct) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let file_len = file.as_ref().map_or(Ok(0), |f| f.len())?;
        Ok(Image {
            file,
            file_len,
            overlay,
            window: Vec::new(),
            window_at: 0,
        })
    }

    /// Fills `buf` from `at` as far as there are bytes. Returns how many, and whether all came from the file.
    pub(crate) fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut filled = 0;
        let mut from_file = true;
        while filled < buf.len() {
            let position = at + filled as u64;
            let before = self.overlay.range(..=position).next_back();
            let covered = before
                .and_then(|(start, bytes)| bytes.get((position - start) as usize..))
                .filter(|b| !b.is_empty());
            if let Some(bytes) = covered {
                let take = bytes.len().min(buf.len() - filled);
                buf[filled..filled + take].copy_from_slice(&bytes[..take]);
                filled += take;
                from_file = false;
                continue;
            }
            let next = self
                .overlay
                .range(position..)
                .next()
                .map_or(u64::MAX, |(start, _)| *start);
            let want = ((next - position) as usize).min(buf.len() - filled);
            let got = self.read_file(position, &mut buf[filled..filled + want])?;
            filled += got;
            if got < want {
                break;
            }
        }
        Ok((filled, from_file))
    }

    /// Fills `buf` from the file alone.
    pub(crate) fn read_file(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let mut filled = 0;
        while filled < buf.len() && at + (filled as u64) < self.file_len {
            let position = at + filled as u64;
            let inside = position >= self.window_at && position < self.window_at + self.window.len() as u64;
            if !inside {
                self.window_at = position / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
                self.window.resize(WINDOW_BYTES, 0);
                let got = file.read_at(&mut self.window, self.window_at)?;
                self.window.truncate(got);
                if position >= self.window_at + got as u64 {
                    break;
                }
            }
            let bytes = &self.window[(position - self.window_at) as usize..];
            let take = bytes.len().min(buf.len() - filled);
            buf[filled..filled + take].copy_from_slice(&bytes[..take]);
            filled += take;
        }
        Ok(filled)
    }

    /// Whether the journal has anything from `at` on.
    pub(crate) fn journal_reaches_past(&self, at: u64) -> bool {
        self.overlay
            .iter()
            .next_back()
            .is_some_and(|(start, bytes)| start + bytes.len() as u64 > at)
    }

    /// Whether the journal alone holds all of `from..to`.
    pub(crate) fn journal_covers(&self, from: u64, to: u64) -> bool {
        let mut at = from;
        while at < to {
            let end = self
                .overlay
                .range(..=at)
                .next_back()
                .map(|(start, bytes)| start + bytes.len() as u64);
            match end {
                Some(end) if end > at => at = end,
                _ => return false,
            }
        }
        true
    }
}

/// Takes away everything from `end` on.
pub(crate) fn cut_off(overlay: &mut BTreeMap<u64, Bytes>, end: u64) {
    overlay.split_off(&end);
    if let Some((start, bytes)) = overlay.iter_mut().next_back()
        && *start + bytes.len() as u64 > end
    {
        bytes.truncate((end - start) as usize);
    }
}

/// Lays `bytes` at `at` over what is there already.
pub(crate) fn lay_over(overlay: &mut BTreeMap<u64, Bytes>, at: u64, bytes: Bytes) {
    if bytes.is_empty() {
        return;
    }
    let end = at + bytes.len() as u64;
    let overlapping: Vec<u64> = overlay
        .range(..end)
        .rev()
        .take_while(|(start, old)| *start + old.len() as u64 > at)
        .map(|(start, _)| *start)
        .collect();
    for start in overlapping {
        let Some(old) = overlay.remove(&start) else { continue };
        let old_end = start + old.len() as u64;
        if start < at {
            overlay.insert(start, old.slice(..(at - start) as usize));
        }
        if old_end > end {
            overlay.insert(end, old.slice((end - start) as usize..));
        }
    }
    overlay.insert(at, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_younger_entry_wins_where_two_overlap() {
        // engine 10
        let mut overlay = BTreeMap::new();
        let mut model = [0u8; 64];
        let layers: [(usize, usize, u8); 6] = [(0, 10, 1), (20, 30, 2), (5, 25, 3), (24, 26, 4), (8, 9, 5), (0, 64, 6)];
        for (i, (from, to, value)) in layers.into_iter().enumerate() {
            lay_over(&mut overlay, from as u64, Bytes::from(vec![value; to - from]));
            model[from..to].fill(value);
            let mut image = Image {
                file: None,
                file_len: 0,
                overlay: overlay.clone(),
                window: Vec::new(),
                window_at: 0,
            };
            for at in 0..64 {
                let mut byte = [0];
                let (got, _) = image.read(at, &mut byte).expect("memory");
                let expected = model[at as usize];
                assert_eq!(if got == 1 { byte[0] } else { 0 }, expected, "layer {i}, byte {at}");
            }
        }
        cut_off(&mut overlay, 30);
        let image = Image {
            file: None,
            file_len: 0,
            overlay,
            window: Vec::new(),
            window_at: 0,
        };
        assert!(image.journal_reaches_past(29) && !image.journal_reaches_past(30));
        let mut gap = BTreeMap::new();
        lay_over(&mut gap, 0, Bytes::from_static(&[1; 10]));
        lay_over(&mut gap, 11, Bytes::from_static(&[1; 10]));
        let image = Image {
            file: None,
            file_len: 0,
            overlay: gap,
            window: Vec::new(),
            window_at: 0,
        };
        assert!(image.journal_covers(2, 10) && image.journal_covers(11, 21) && !image.journal_covers(9, 12));
    }
}
