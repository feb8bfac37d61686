//! What a start makes of the files of a partition: the manifest names what is sealed, the open
//! file behind it says how far it is, everything else is garbage.

use std::path::Path;

use event::{PartitionId, Seq};

use crate::{
    Error, Result, disk,
    engine::Engine,
    ids_file, layout,
    manifest::Manifest,
    open_segment::OpenSegment,
    shelf::{self, Shelf},
    slice_file,
};

/// Memory for looking at one file after the other.
const PROBE_MEMORY: u64 = 256 * 1024 * 1024;

/// The sealed part: the manifest, with what turned out to be lost moved to its holes.
pub(crate) fn shelf(dir: &Path, partition: PartitionId, first: Seq, spill: &Path) -> Result<Shelf> {
    disk::create_dir(dir)?;
    let manifest = match Manifest::read(dir)? {
        Some(manifest) => manifest,
        None => {
            let manifest = Manifest::new(partition, first.max(1));
            manifest.write(dir)?;
            manifest
        }
    };
    remove_garbage(dir, &manifest)?;
    let shelf = Shelf::new(dir, manifest);
    for slice in shelf.manifest().slices {
        // An instance of its own for each: a damaged file may take its instance with it.
        let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
        match slice_file::verify(&probe, &dir.join(&slice.file), &slice.sums()) {
            Err(error @ Error::Damaged { .. }) => shelf.quarantine(&slice, &error)?,
            verified => verified?,
        }
    }
    Ok(shelf)
}

/// Makes sure that the id files can be read; one that cannot is written again from the slices.
pub(crate) fn id_files(engine: &Engine, shelf: &Shelf, spill: &Path) -> Result<()> {
    for ids in shelf.manifest().ids {
        let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
        if let Err(error) = ids_file::verify(&probe, &shelf.dir.join(&ids.file)) {
            tracing::error!(
                partition = %shelf.partition,
                error = %error,
                "the ids of a sealed range are lost and written again"
            );
            shelf::set_aside(&shelf.dir, &ids.file)?;
            ids_file::rebuild(engine, shelf, &ids)?;
        }
    }
    Ok(())
}

/// The open part. A file that cannot be opened is set aside: the log still has what it held.
pub(crate) fn open_segment(engine: &Engine, shelf: &Shelf, spill: &Path) -> Result<OpenSegment> {
    let lo = shelf.manifest().sealed + 1;
    let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
    let probed = OpenSegment::open(&probe, &shelf.dir, shelf.partition, lo);
    if let Err(error) = probed.and_then(OpenSegment::close) {
        tracing::error!(
            partition = %shelf.partition,
            error = %error,
            "open segment is damaged and goes into quarantine, it is read again from the log"
        );
        shelf::set_aside(&shelf.dir, &layout::open_name(lo))?;
    }
    drop(probe);
    OpenSegment::open(engine, &shelf.dir, shelf.partition, lo)
}

fn remove_garbage(dir: &Path, manifest: &Manifest) -> Result<()> {
    let open = layout::open_name(manifest.sealed + 1);
    let mut named = vec![layout::MANIFEST.to_owned(), format!("{open}.wal"), open];
    named.extend(manifest.slices.iter().map(|slice| slice.file.clone()));
    named.extend(manifest.ids.iter().map(|ids| ids.file.clone()));
    for name in disk::files(dir)? {
        if named.contains(&name) {
            continue;
        }
        if layout::parse_open(&name).is_some_and(|lo| lo > manifest.sealed) {
            let reason = "it does not continue what is sealed";
            return Err(Error::damaged(dir.join(name), reason));
        }
        tracing::info!(file = name, "removes a file that nothing names");
        disk::remove(&dir.join(&name))?;
    }
    disk::sync_dir(dir)
}
