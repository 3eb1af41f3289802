//! A patched copy of a Go module, for a release that does not compile with published modules.
//!
//! In go the folder of a `go.mod`, with a patch `NAME.patch` next to it and a line `replace MODULE => ./NAME`, and the
//! module; out comes the folder `NAME`. The module is from Go's cache, which verifies it by the `go.sum` of the folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::go::last_lines;

/// The part of the output of `go mod download -json` that is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    dir: PathBuf,
}

/// Copies the module `path` below `folder` and applies its patch.
pub(crate) fn apply(go: &Path, folder: &Path, path: &str, version: &str) -> anyhow::Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let copy = folder.join(name);
    if copy.exists() {
        // A copy of an interrupted build may lack files or the patch.
        std::fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    let mut download = Command::new(go);
    let module = format!("{path}@v{version}");
    download.current_dir(folder).args(["mod", "download", "-json", &module]).env("GOWORK", "off");
    let found: Download = serde_json::from_str(&run(&mut download)?)
        .with_context(|| format!("go mod download {module} names no directory"))?;
    copy_tree(&found.dir, &copy)?;
    apply_patch(folder, name)
}

fn apply_patch(folder: &Path, name: &str) -> anyhow::Result<()> {
    let mut patch = Command::new("git");
    // A repository around the cache must not change the meaning of the paths.
    patch.current_dir(folder.join(name)).env("GIT_CEILING_DIRECTORIES", folder);
    patch.arg("apply").arg(folder.join(format!("{name}.patch")));
    run(&mut patch).map(drop)
}

/// Copies all files; the directories of Go's cache cannot be written to, those of the copy can.
fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).with_context(|| format!("cannot create {}", to.display()))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 20));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed bytes that are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_changes_the_copy_or_is_refused() {
        let folder = std::env::temp_dir().join(format!("regcred-world-patch-{}", std::process::id()));
        let copy = folder.join("module");
        std::fs::create_dir_all(&copy).unwrap();
        std::fs::write(copy.join("a.go"), "package b\n").unwrap();
        let patch = "--- a/a.go\n+++ b/a.go\n@@ -1 +1 @@\n-package a\n+package c\n";
        std::fs::write(folder.join("module.patch"), patch).unwrap();
        let error = apply_patch(&folder, "module").unwrap_err().to_string();
        assert!(error.contains("git failed") && error.contains("a.go"), "{error}");
        std::fs::write(copy.join("a.go"), "package a\n").unwrap();
        apply_patch(&folder, "module").unwrap();
        assert_eq!(std::fs::read_to_string(copy.join("a.go")).unwrap(), "package c\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
