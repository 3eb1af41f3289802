//! The `regcred` program: everything is in the library, [`regcred::cli`] is its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("no provider was installed before");
    regcred::cli::main()
}
