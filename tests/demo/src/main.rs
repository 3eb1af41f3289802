//! `make demo`: runs the story with the `regcred` in the same build directory.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    demo::main("regcred").await
}
