//! `make demo`: the story, told with the `regcred` that was built beside this program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    demo::main("regcred").await
}
