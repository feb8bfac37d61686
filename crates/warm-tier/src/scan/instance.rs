//! The DuckDB instance of the readers.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
};

use duckdb::Connection;

use crate::{
    engine::{self, Engine},
    error::Result,
    sealed_partition::SliceFile,
    slice_file,
};

/// A DuckDB instance and the files that are attached to it. Files stay attached between scans.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) engine: Engine,
    attached: HashMap<PathBuf, AttachedSlice>,
}

#[derive(Debug)]
struct AttachedSlice {
    alias: String,
    file: Weak<SliceFile>,
}

impl Instance {
    pub(super) fn start(memory: u64, spill: &std::path::Path) -> Result<Self> {
        // One thread per query: point reads are faster, and many queries run side by side.
        Ok(Self {
            engine: Engine::start(memory, 1, spill)?,
            attached: HashMap::new(),
        })
    }

    /// The alias of `file`, which is attached if it is not yet.
    pub(super) fn alias(
        &mut self,
        connection: &Connection,
        file: &Arc<SliceFile>,
    ) -> Result<String> {
        if let Some(attached) = self.attached.get(&file.path) {
            return Ok(attached.alias.clone());
        }
        let alias = slice_file::alias("slice");
        engine::attach_read_only(connection, &file.path, &alias)?;
        let attached = AttachedSlice {
            alias: alias.clone(),
            file: Arc::downgrade(file),
        };
        self.attached.insert(file.path.clone(), attached);
        Ok(alias)
    }

    pub(super) fn release(&mut self) -> Result<()> {
        let is_dropped = |attached: &AttachedSlice| attached.file.strong_count() == 0;
        if !self.attached.values().any(is_dropped) {
            return Ok(());
        }
        let connection = self.engine.connect()?;
        let dropped = self.attached.extract_if(|_, attached| is_dropped(attached));
        for (_, attached) in dropped {
            engine::detach(&connection, &attached.alias)?;
        }
        Ok(())
    }
}
