//! Completions and manual pages, made from the command line's own description.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Failure, INTERNAL, Outcome};
use crate::print;

pub(crate) fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kamacache", &mut script);
    print::bytes(&script)
}

/// `kamacache.1`, and `kamacache-serve.1` and so on for each command.
pub(crate) fn pages(folder: &Path) -> Outcome {
    let failed = |error: std::io::Error| {
        Failure::new(
            INTERNAL,
            format!(
                "manual pages cannot be written to {}: {error}",
                folder.display()
            ),
        )
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)
}
