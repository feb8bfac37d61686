//! What a start makes of the files of a partition: the manifest names what is sealed, the open
//! file behind it says how far it is, everything else is garbage.

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

/// Memory for looking at one file after the other.
const PROBE_MEMORY: u64 = 256 * 1024 * 1024;

/// The sealed part: the manifest, with what turned out to be lost moved to its gaps.
pub(crate) fn sealed(
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
    remove_garbage(dir, &manifest)?;
    let sealed = SealedPartition::new(dir, manifest);
    for slice in sealed.manifest().slices {
        // An instance of its own for each: a damaged file may take its instance with it.
        let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
        match slice_file::verify(&probe, &dir.join(&slice.file), &slice.sums()) {
            Err(error @ Error::Damaged { .. }) => sealed.quarantine(&slice, &error)?,
            verified => verified?,
        }
    }
    Ok(sealed)
}

/// Makes sure that the id files can be read; one that cannot is written again from the slices.
pub(crate) fn id_files(engine: &Engine, sealed: &SealedPartition, spill: &Path) -> Result<()> {
    for ids in sealed.manifest().ids {
        let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
        if let Err(error) = ids_file::verify(&probe, &sealed.dir.join(&ids.file)) {
            tracing::error!(
                partition = %sealed.partition,
                error = %error,
                "the ids of a sealed range are lost and written again"
            );
            sealed_partition::set_aside(&sealed.dir, &ids.file)?;
            ids_file::rebuild(engine, sealed, &ids)?;
        }
    }
    Ok(())
}

/// The open part. A file that cannot be opened is set aside: the log still has what it held.
pub(crate) fn open_segment(
    engine: &Engine,
    sealed: &SealedPartition,
    spill: &Path,
) -> Result<OpenSegment> {
    let lo = sealed.manifest().sealed + 1;
    let probe = Engine::start(PROBE_MEMORY, 1, &spill.join("probe"))?;
    let probed = OpenSegment::open(&probe, &sealed.dir, sealed.partition, lo);
    if let Err(error) = probed.and_then(OpenSegment::close) {
        tracing::error!(
            partition = %sealed.partition,
            error = %error,
            "open segment is damaged and goes into quarantine, it is read again from the log"
        );
        sealed_partition::set_aside(&sealed.dir, &layout::open_name(lo))?;
    }
    drop(probe);
    OpenSegment::open(engine, &sealed.dir, sealed.partition, lo)
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
