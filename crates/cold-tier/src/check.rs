//! Checks that the object of a live file is there, without reading it.

use object_store::ObjectStoreExt as _;

use crate::{
    error::{Error, Result},
    file::ColdFile,
    tier::ColdTier,
};

impl ColdTier {
    /// Checks that the object of `file` exists and has the size of its log entry; does not read it.
    ///
    /// # Errors
    /// [`Error::Gone`] and [`Error::Damaged`] when it has not, see [`Error::is_damage`]. Retry when
    /// [`Error::is_transient`].
    pub async fn check_object(&self, file: &ColdFile) -> Result<()> {
        let object = self.log(file.table).object_path(&file.path);
        let found = self.store().head(&object).await?.size;
        if found == file.bytes {
            return Ok(());
        }
        Err(Error::Damaged {
            path: file.path.clone(),
            reason: format!("it has {found} bytes, not {}", file.bytes),
        })
    }
}
