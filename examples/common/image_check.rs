use anyhow::Result;

use crate::sets::Sets;

#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Skipped {
    pub(crate) path: std::path::PathBuf,
    pub(crate) reason: String,
}

pub(crate) fn checked(sets: Sets, _skip_bad: bool) -> Result<(Sets, Vec<Skipped>)> {
    Ok((sets, Vec::new()))
}
