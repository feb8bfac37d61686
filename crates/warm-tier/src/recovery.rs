//! Recovery of a partition's files at a start: the manifest names what is sealed, every other file is
//! removed. What was not sealed is read from the log again.

use std::{collections::BTreeSet, path::Path};

use event::{PartitionId, Seq};

use crate::{
    disk,
    engine::Engine,
    error::{Error, Result},
    ids_file, layout,
    manifest::Manifest,
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

/// Removes the files that the manifest does not refer to.
fn remove_unreferenced(dir: &Path, manifest: &Manifest) -> Result<()> {
    let slices = manifest.slices.iter().map(|slice| slice.file.as_str());
    let ids = manifest.ids.iter().map(|ids| ids.file.as_str());
    let referenced: BTreeSet<&str> = slices
        .chain(ids)
        .chain([layout::MANIFEST, layout::LOG_END])
        .collect();
    for name in disk::files(dir)? {
        if !referenced.contains(name.as_str()) {
            tracing::info!(
                file = name,
                "removed a file that the manifest does not name"
            );
            disk::remove(&dir.join(&name))?;
        }
    }
    disk::sync_dir(dir)
}
