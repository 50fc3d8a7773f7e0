//! The Python that tests run.

use std::env;
use std::process::Command;

use super::skip::skipped;

/// Returns the Python of `GATERNET_PYTHON`, or `python3` or `python`, if it has all of `modules`,
/// separated by commas. Otherwise it returns `None`, and the test is [skipped] for want of `need`.
#[must_use]
pub fn python(need: &str, modules: &str) -> Option<String> {
    let chosen = env::var("GATERNET_PYTHON");
    let names = chosen.map_or_else(|_| vec!["python3".into(), "python".into()], |name| vec![name]);
    let has_all = |name: &&String| {
        let import = Command::new(name).args(["-c", &format!("import {modules}")]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let found = names.iter().find(has_all).cloned();
    if found.is_none() {
        let names = names.join(" and ");
        skipped(need, &format!("{names} cannot import {modules} (set GATERNET_PYTHON)"));
    }
    found
}
