//! Names of folders and files. Pure.

use std::path::{Path, PathBuf};

use event::{PartitionId, SeqRange};
use retention::Class;

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const LOCK: &str = "LOCK";
/// How far the log was read; written under the second name first.
pub(crate) const LOG_END: &str = "log-end.json";
pub(crate) const LOG_END_STAGED: &str = "log-end.json.tmp";
/// `<data>/STORE`: the id of the store that the folder belongs to.
pub(crate) const STORE: &str = "STORE";
/// The suffix of a file that is still being written.
pub(crate) const STAGED: &str = ".tmp";

/// `<data>/g1/p07/e1`
pub(crate) fn partition_dir(data: &Path, partition: PartitionId) -> PathBuf {
    let PartitionId {
        generation,
        partition,
        epoch,
    } = partition;
    data.join(format!("g{generation}"))
        .join(format!("p{partition:02}"))
        .join(format!("e{epoch}"))
}

/// `<partition>/quarantine`: damaged files, kept for a person to inspect.
pub(crate) fn quarantine_dir(partition_dir: &Path) -> PathBuf {
    partition_dir.join("quarantine")
}

/// `<data>/tmp`: DuckDB's spill files. Emptied at every start.
pub(crate) fn spill_dir(data: &Path) -> PathBuf {
    data.join("tmp")
}

/// `<data>/open`: columns of what is not sealed, for readers beside the files. Emptied at every start.
pub(crate) fn open_dir(data: &Path) -> PathBuf {
    data.join("open")
}

/// `L0-17-40-w604800000-cforever.duckdb`
pub(crate) fn slice_name(level: u8, range: SeqRange, class: Class) -> String {
    format!("L{level}-{range}-{class}.duckdb")
}

/// `ids-17-40.duckdb`
pub(crate) fn ids_name(range: SeqRange) -> String {
    format!("ids-{range}.duckdb")
}

/// The path of DuckDB's write-ahead log beside a file.
pub(crate) fn wal_of(path: &Path) -> PathBuf {
    with_suffix(path, ".wal")
}

/// The path of a file while it is being written.
pub(crate) fn staged(path: &Path) -> PathBuf {
    with_suffix(path, STAGED)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_has_the_level_the_range_and_the_class() {
        let dir = partition_dir(Path::new("/d"), PartitionId::first(7));
        assert_eq!(dir, Path::new("/d/g1/p07/e1"));
        let class = "w60000-cnone".parse().unwrap();
        let name = slice_name(2, SeqRange { lo: 17, hi: 40 }, class);
        assert_eq!(name, "L2-17-40-w60000-cnone.duckdb");
        assert_eq!(staged(Path::new("a.duckdb")), Path::new("a.duckdb.tmp"));
    }
}
