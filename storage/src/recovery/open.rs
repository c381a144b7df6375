//! Gathers what index, metadata and journal know of each log and rebuilds the logs.

use crate::config::LogConfig;
use crate::disk::OpenMode;
use crate::error::{Error, Result};
use crate::index::{IndexBatch, LogId};
use crate::journal::RecoveredEntry;
use crate::log::{Log, LogStart};
use crate::metadata::TopicRecord;
use crate::segments::{SEGMENTS_DIR, parse_log_dir};
use crate::shared::Shared;
use protocol::types::TopicId;
use std::collections::{HashMap, HashSet};
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

/// Where journal entries of unknown topics are kept for a person to look at.
const QUARANTINE_DIR: &str = "quarantine";

/// What recovery made.
pub(crate) struct Opened {
    pub(crate) logs: HashMap<LogId, Arc<Log>>,
    /// Topics of which the journal still had entries.
    pub(crate) journaled_topics: HashSet<TopicId>,
}

/// Rebuilds all logs of `topics`. Entries of `tombstones` are dropped, of unknown topics quarantined (engine rule 10). When it returns,
/// everything accepted is durable. `scan`: marks cannot be trusted as complete, look at all segments.
pub(crate) fn recover_logs(
    shared: &Arc<Shared>,
    topics: &[TopicRecord],
    tombstones: &[TopicId],
    entries: Vec<RecoveredEntry>,
    scan: bool,
    now_ms: i64,
) -> Result<Opened> {
    let mut starts = gather(shared, topics, scan)?;
    let tombstones: HashSet<TopicId> = tombstones.iter().copied().collect();
    let mut journaled_topics = HashSet::new();
    let mut files: HashMap<LogId, Vec<u64>> = HashMap::new();
    let mut unknown: HashMap<LogId, Vec<RecoveredEntry>> = HashMap::new();
    for entry in entries {
        let id = entry.header.log;
        journaled_topics.insert(id.topic_id);
        if let Some(start) = starts.get_mut(&id) {
            let files = files.entry(id).or_default();
            if files.last() != Some(&entry.file) {
                files.push(entry.file);
            }
            start.entries.push(entry);
        } else if !tombstones.contains(&id.topic_id) {
            unknown.entry(id).or_default().push(entry);
        }
    }
    for (id, entries) in unknown {
        quarantine(shared, id, &entries)?;
    }

    let mut batch = IndexBatch::new();
    let mut logs = HashMap::with_capacity(starts.len());
    let mut cuts = Vec::new();
    for (id, start) in starts {
        let (log, cut) = Log::recover(shared, id, LogConfig::default(), &start, now_ms, &mut batch)?;
        if log.is_damaged() {
            // No checkpoint carries them to segments, and the journal's files are used again.
            if !start.entries.is_empty() {
                quarantine(shared, id, &start.entries)?;
            }
            logs.insert(id, log);
            continue;
        }
        for file in files.remove(&id).unwrap_or_default() {
            shared.journal.touch_recovered(file, &log);
        }
        cuts.extend(cut);
        logs.insert(id, log);
    }
    if !cuts.is_empty() || shared.journal.queued_bytes() > 0 {
        // What cuts are about to overwrite has to be in the journal first (engine rule 3).
        let io = |source| Error::io("writing the journal during recovery failed", source);
        shared.journal.write_queued().map_err(io)?;
        shared.journal.sync_written().map_err(io)?;
        for cut in &cuts {
            cut.apply()?;
        }
        tracing::info!(partitions = cuts.len(), "ends of logs were made clean");
    }
    if !batch.is_empty() {
        shared.index.write(batch, true)?;
    }
    Ok(Opened { logs, journaled_topics })
}

fn gather(shared: &Arc<Shared>, topics: &[TopicRecord], scan: bool) -> Result<HashMap<LogId, LogStart>> {
    let index = &shared.index;
    let mut starts: HashMap<LogId, LogStart> = HashMap::new();
    for topic in topics {
        for partition in 0..topic.partitions {
            starts.insert(
                LogId {
                    topic_id: topic.id,
                    partition,
                },
                LogStart {
                    scan,
                    ..LogStart::default()
                },
            );
        }
    }
    let dir = Path::new(SEGMENTS_DIR);
    let folders = shared
        .disk
        .list(dir)
        .map_err(|source| Error::io("listing the segments failed", source))?;
    for id in folders.iter().filter_map(|name| parse_log_dir(name)) {
        if let Some(start) = starts.get_mut(&id) {
            start.has_files = true;
        }
    }
    for (id, mark) in index.marks()? {
        if let Some(start) = starts.get_mut(&id) {
            start.mark = Some(mark);
        }
    }
    for (id, segments) in index.segments()? {
        if let Some(start) = starts.get_mut(&id) {
            start.segments = segments;
        }
    }
    for (id, epochs) in index.epochs()? {
        if let Some(start) = starts.get_mut(&id) {
            start.epochs = epochs;
        }
    }
    for (id, producers) in index.producers()? {
        if let Some(start) = starts.get_mut(&id) {
            start.producers = producers;
        }
    }
    Ok(starts)
}

/// Puts entries aside in a file of their own, complete or absent. What an earlier start put aside stays; the same is not put twice.
fn quarantine(shared: &Arc<Shared>, id: LogId, entries: &[RecoveredEntry]) -> Result<()> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&entry.header.encode());
        bytes.extend_from_slice(&entry.payload);
    }
    let dir = Path::new(QUARANTINE_DIR);
    let new = dir.join("new");
    let io = |source| Error::io(format!("putting journal entries of {id} aside failed"), source);
    for n in 0.. {
        let path = dir.join(format!("{id}.{n}.entries"));
        match shared.disk.open(&path, OpenMode::Read) {
            Ok(file) => {
                let mut there = vec![0; usize::try_from(file.len().map_err(io)?).unwrap_or(0)];
                file.read_at(&mut there, 0).map_err(io)?;
                if there == bytes {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                shared.disk.create_dir(dir).map_err(io)?;
                shared.disk.remove(&new).map_err(io)?;
                let file = shared.disk.create(&new, OpenMode::Buffered).map_err(io)?;
                file.write_at(&[IoSlice::new(&bytes)], 0).map_err(io)?;
                file.sync_data().map_err(io)?;
                shared.disk.rename(&new, &path).map_err(io)?;
                shared.disk.sync_dir(dir).map_err(io)?;
                tracing::error!(
                    log = %id, entries = entries.len(), path = %path.display(),
                    "the journal holds records of an unknown topic or a damaged partition; they were put aside"
                );
                return Ok(());
            }
            Err(error) => return Err(io(error)),
        }
    }
    Ok(())
}
