//! The demo as a test: `cargo test --workspace` runs the same story with the same checks.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // Test programs are built one directory below the binary.
    demo::main("../regcred").await
}
