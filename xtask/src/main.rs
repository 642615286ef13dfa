//! `cargo xtask`: chores that are no one's build step.

use std::path::PathBuf;
use std::process::ExitCode;
use xtask::{Result, abi, dist, docs, header};

const USAGE: &str = "usage: cargo xtask COMMAND
  header                         writes runtime/include/tcrt.h from runtime/src/capi
  docs                           writes docs/cli from the programs' arguments
  abi RELEASE                    records the header's declarations in runtime/include/abi, as those of a release
  dist [FOLDER] [--profile P]    builds and lays out what is installed, man pages and completions too, in target/install or FOLDER";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["header"] => header::update(),
        ["docs"] => docs::update(),
        ["abi", release] => abi::record(release),
        ["dist"] => install(None, "dist"),
        ["dist", folder] => install(Some(folder), "dist"),
        ["dist", "--profile", profile] => install(None, profile),
        ["dist", folder, "--profile", profile] => install(Some(folder), profile),
        _ => Err(USAGE.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

fn install(folder: Option<&str>, profile: &str) -> Result {
    let folder = folder.map_or_else(|| xtask::root().join("target/install"), PathBuf::from);
    for file in dist::install(&folder, profile)? {
        println!("{:>9}  {}", file.bytes, file.path.display());
    }
    docs::install(&folder)
}
