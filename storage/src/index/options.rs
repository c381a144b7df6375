//! How RocksDB is set up: small. It holds an index and a few facts, never records, and an idle broker must stay
//! below 30 MiB.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options};

/// Half of the memory is block cache, half memtables.
pub(super) fn database(memory_bytes: usize) -> Options {
    let memtables_bytes = (memory_bytes / 2).max(512 << 10);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(memtables_bytes);
    // A quiet column family would keep every log since its last write alive, and a start reads them all.
    options.set_max_total_wal_size(2 * memtables_bytes as u64);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // One flush and one compaction at a time: both are rare, and each thread costs a stack and an arena.
    options.set_max_background_jobs(2);
    // Files are opened when they are needed, so that a start does not grow with their number.
    options.set_max_open_files(128);
    options.set_max_file_opening_threads(1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_table_cache_num_shard_bits(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_max_manifest_file_size(4 << 20);
    options
}

/// The column families, which share one block cache.
pub(super) fn column_families(names: &[&str], memory_bytes: usize) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache((memory_bytes / 2).max(512 << 10));
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    // Index blocks count against the cache, so that memory does not grow with the data.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    names
        .iter()
        .map(|name| {
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_write_buffer_size((memory_bytes / 8).clamp(256 << 10, 8 << 20));
            // Eight memtables with the default arena blocks of 1 MiB would be most of the memory budget.
            options.set_arena_block_size(16 << 10);
            options.set_max_write_buffer_number(2);
            options.set_target_file_size_base(8 << 20);
            options.set_max_bytes_for_level_base(32 << 20);
            options.set_compression_type(DBCompressionType::None);
            ColumnFamilyDescriptor::new(*name, options)
        })
        .collect()
}
