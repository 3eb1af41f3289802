//! The `regcred` program: everything is in the library, [`regcred::cli`] is its terminal.

use std::process::ExitCode;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("nothing was installed before");
    regcred::cli::main()
}
