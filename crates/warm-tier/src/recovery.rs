//! Recovery of a partition's files at a start: the manifest names what is sealed, the open segment
//! after it has the offset, every other file is removed.

use std::path::Path;

use event::{PartitionId, Seq};

use crate::{
    disk,
    engine::Engine,
    error::{Error, Result},
    ids_file, layout,
    manifest::Manifest,
    open_segment::OpenSegment,
    sealed_partition::{self, SealedPartition},
    slice_file,
};

/// Memory of an instance that verifies one file. The value has no reason but to bound memory.
pub(crate) const PROBE_MEMORY: u64 = 256 * 1024 * 1024;

/// Recovers the sealed part: reads the manifest and moves slices that are damaged or missing to its
/// gaps.
pub(crate) fn recover_sealed(
    dir: &Path,
    partition: PartitionId,
    first: Seq,
    spill: &Path,
) -> Result<SealedPartition> {
    disk::create_dir(dir)?;
    let manifest = match Manifest::read(dir)? {
        Some(manifest) => manifest,
        None => {
            let manifest = Manifest::new(partition, first.max(1));
            manifest.write(dir)?;
            manifest
        }
    };
    remove_unreferenced(dir, &manifest)?;
    let sealed = SealedPartition::new(dir, manifest);
    for slice in sealed.manifest().slices {
        // A separate instance for each: a damaged file may invalidate its instance.
        let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
        match slice_file::verify(&probe, &dir.join(&slice.file), &slice.sums()) {
            Err(error @ Error::Damaged { .. }) => sealed.quarantine(&slice, &error)?,
            verified => verified?,
        }
    }
    Ok(sealed)
}

/// Verifies the id files and forgets those that are damaged or missing, whose ids are recovered before
/// the next append.
pub(crate) fn recover_id_files(sealed: &SealedPartition, spill: &Path) -> Result<()> {
    for ids in sealed.manifest().ids {
        let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
        match ids_file::verify(&probe, &sealed.dir.join(&ids.file)) {
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(
                    partition = %sealed.partition,
                    error = %error,
                    "id file is damaged and goes into quarantine, its ids are recovered"
                );
                sealed_partition::move_to_quarantine(&sealed.dir, &ids.file)?;
                sealed.update_manifest(|manifest| {
                    manifest.lose_ids(&ids);
                    true
                })?;
            }
            verified => verified?,
        }
    }
    Ok(())
}

/// Opens the open segment. A file that cannot be opened goes into quarantine: the log still has its
/// events.
pub(crate) fn recover_open_segment(
    engine: &Engine,
    sealed: &SealedPartition,
    spill: &Path,
) -> Result<OpenSegment> {
    let lo = sealed.manifest().sealed + 1;
    let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
    let probed = OpenSegment::open(&probe, &sealed.dir, sealed.partition, lo);
    if let Err(error) = probed.and_then(OpenSegment::close) {
        if error.is_of_the_machine() {
            return Err(error);
        }
        tracing::error!(
            partition = %sealed.partition,
            error = %error,
            "open segment is damaged and goes into quarantine, it is read again from the log"
        );
        sealed_partition::move_to_quarantine(&sealed.dir, &layout::open_name(lo))?;
    }
    drop(probe);
    OpenSegment::open(engine, &sealed.dir, sealed.partition, lo)
}

/// Removes the files that the manifest does not refer to.
fn remove_unreferenced(dir: &Path, manifest: &Manifest) -> Result<()> {
    let open = layout::open_name(manifest.sealed + 1);
    let mut referenced = vec![layout::MANIFEST.to_owned(), format!("{open}.wal"), open];
    referenced.extend(manifest.slices.iter().map(|slice| slice.file.clone()));
    referenced.extend(manifest.ids.iter().map(|ids| ids.file.clone()));
    for name in disk::files(dir)? {
        if referenced.contains(&name) {
            continue;
        }
        if layout::parse_open(&name).is_some_and(|lo| lo > manifest.sealed) {
            let reason = "it starts after the end of the sealed range";
            return Err(Error::damaged(dir.join(name), reason));
        }
        tracing::info!(
            file = name,
            "removed a file that the manifest does not name"
        );
        disk::remove(&dir.join(&name))?;
    }
    disk::sync_dir(dir)
}
