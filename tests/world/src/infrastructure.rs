//! Parsers and linters of infrastructure as code, without a cloud: cfn-lint for `CloudFormation`, python-hcl2 for
//! Terraform.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::programs;

/// The code of the program `cfn-lint`.
const CFN_LINT: &str = "import sys; from cfnlint.runner import main; sys.exit(main())";

/// Reads a template and writes its short forms out as `Fn::` and `Ref`.
const CLOUDFORMATION: &str = "
import json, sys
from cfnlint.decode import decode
template, matches = decode(sys.argv[1])
if matches:
    sys.exit(str(matches))
json.dump(template, sys.stdout)
";

/// Reads all files of a module into Terraform's JSON syntax, in which text is a template: a literal without its quotes,
/// any other expression as `${…}`. The blocks of one type from all files are in one list.
const TERRAFORM: &str = r#"
import glob, json, os, sys
import hcl2

def plain(node):
    if isinstance(node, dict):
        return {plain(key): plain(value) for key, value in node.items() if not key.startswith("__")}
    if isinstance(node, list):
        return [plain(item) for item in node]
    if isinstance(node, str) and node.startswith('"'):
        return json.loads(node)
    return node

module = {}
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.tf"))):
    with open(path) as file:
        for kind, blocks in plain(hcl2.load(file)).items():
            module.setdefault(kind, []).extend(blocks)
json.dump(module, sys.stdout)
"#;

/// Returns the findings of cfn-lint in a template, hints included; an empty text for none.
pub async fn cfn_lint(template: &Path) -> anyhow::Result<String> {
    let output = python(&["-c", CFN_LINT, "--include-checks", "I", "--"], template).await?;
    let findings = String::from_utf8_lossy(&output.stdout).into_owned();
    if findings.trim().is_empty() && !output.status.success() {
        bail!("cfn-lint failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(findings)
}

/// Parses a `CloudFormation` template.
pub async fn cloudformation(template: &Path) -> anyhow::Result<Value> {
    read(CLOUDFORMATION, template).await
}

/// Parses a Terraform module: every block of every file in `directory`, by its type.
pub async fn terraform(directory: &Path) -> anyhow::Result<Value> {
    read(TERRAFORM, directory).await
}

async fn read(script: &str, path: &Path) -> anyhow::Result<Value> {
    let output = python(&["-c", script], path).await?;
    if !output.status.success() {
        bail!("cannot read {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{} is not JSON", path.display()))
}

async fn python(arguments: &[&str], path: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(programs::deploy_tools_python().await?);
    command.args(arguments).arg(path).env("PYTHONUTF8", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    // Ignores a `.cfnlintrc` in the caller's directory or home.
    command.current_dir("/").env("HOME", "/nonexistent");
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("cannot run Python")
}
