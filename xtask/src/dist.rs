//! What is installed: the library with its headers and descriptions for CMake and pkg-config, and the command line.

use crate::{Result, abi, header, include, make_folder, root, symbols, write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Also in runtime/build.rs.
const SONAME: &str = "libtcrt.so.1";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes that they may have in the profile `dist`.
// Meant to be 1.5 and 2.5 MB again: attention's and the quantized products' variants are most of what is above (docs/performance.md).
const LIBRARY_LIMIT: u64 = 2_200_000;
const PROGRAM_LIMIT: u64 = 3_060_000;
const SERVER_LIMIT: u64 = 4_100_000;
/// What the static library needs of the system: `rustc --print native-static-libs`.
const SYSTEM_LIBRARIES: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl";

pub struct Installed {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Builds in a profile, and lays everything out in `folder`.
pub fn install(folder: &Path, profile: &str) -> Result<Vec<Installed>> {
    header::check()?;
    let built = build(profile)?;
    let real = format!("libtcrt.so.{VERSION}");
    let (lib, bin) = (folder.join("lib"), folder.join("bin"));
    let files = [
        (built.join("libtcrt.so"), lib.join(&real)),
        (built.join("libtcrt.a"), lib.join("libtcrt.a")),
        (built.join("tcrt"), bin.join("tcrt")),
        (built.join("tcrt-serve"), bin.join("tcrt-serve")),
        (include().join("tcrt.h"), folder.join("include/tcrt.h")),
        (include().join("tcrt.hpp"), folder.join("include/tcrt.hpp")),
        (include().join("tcrt_model.h"), folder.join("include/tcrt_model.h")),
        (root().join("LICENSE"), folder.join("share/licenses/tcrt/LICENSE")),
    ];
    let installed = files.iter().map(|(from, to)| copy(from, to)).collect::<Result<Vec<_>>>()?;
    link(&real, &lib.join(SONAME))?;
    link(SONAME, &lib.join("libtcrt.so"))?;
    for (name, template) in [
        ("cmake/tcrt/tcrtConfig.cmake", include_str!("templates/tcrtConfig.cmake")),
        ("cmake/tcrt/tcrtConfigVersion.cmake", include_str!("templates/tcrtConfigVersion.cmake")),
        ("pkgconfig/tcrt.pc", include_str!("templates/tcrt.pc")),
    ] {
        write(&lib.join(name), &filled(template))?;
    }
    check_library(&lib.join(&real))?;
    if profile == "dist" {
        check_size(&installed[0], LIBRARY_LIMIT)?;
        check_size(&installed[2], PROGRAM_LIMIT)?;
        check_size(&installed[3], SERVER_LIMIT)?;
    }
    Ok(installed)
}

fn filled(template: &str) -> String {
    template
        .replace("@VERSION@", VERSION)
        .replace("@MAJOR@", VERSION.split('.').next().unwrap_or_default())
        .replace("@MINOR@", VERSION.split('.').nth(1).unwrap_or_default())
        .replace("@SONAME@", SONAME)
        .replace("@SYSTEM_LIBRARIES@", SYSTEM_LIBRARIES)
}

/// Where the build left its files.
fn build(profile: &str) -> Result<PathBuf> {
    let target = root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()));
    if profile == "dist" {
        // Cargo links a library with whole-program optimisation only where none of its forms is Rust's own.
        cargo(&["rustc", "-p", "tcrt", "--lib", "--profile", profile, "--crate-type", "cdylib,staticlib"])?;
        cargo(&["build", "-p", "tcrt-cli", "--profile", profile])?;
    } else {
        cargo(&["build", "-p", "tcrt", "-p", "tcrt-cli", "--profile", profile])?;
    }
    Ok(target.join(if profile == "dev" { "debug" } else { profile }))
}

pub(crate) fn cargo(arguments: &[&str]) -> Result {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).arg("--quiet").args(arguments);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

fn copy(from: &Path, to: &Path) -> Result<Installed> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    let copied = std::fs::copy(from, to);
    let bytes = copied.map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))?;
    Ok(Installed { path: to.to_path_buf(), bytes })
}

fn link(target: &str, link: &Path) -> Result {
    // A link of an earlier installation gives way; that there was none is no failure.
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(target, link).map_err(|error| format!("{}: {error}", link.display()))
}

/// That the library shows the functions of the header and nothing else.
fn check_library(path: &Path) -> Result {
    let library = symbols::of_library(path)?;
    let declared = abi::functions(&abi::current()?);
    if library.exports != declared {
        let odd = |a: &[String], b: &[String]| {
            a.iter().filter(|name| !b.contains(name)).cloned().collect::<Vec<_>>().join(" ")
        };
        let (extra, missing) = (odd(&library.exports, &declared), odd(&declared, &library.exports));
        return Err(format!("{}: exports besides the header: [{extra}]; lacks: [{missing}]", path.display()));
    }
    match library.soname == SONAME {
        true => Ok(()),
        false => Err(format!("{}: its name is {:?}, not {SONAME}", path.display(), library.soname)),
    }
}

fn check_size(file: &Installed, limit: u64) -> Result {
    match file.bytes <= limit {
        true => Ok(()),
        false => Err(format!("{}: {} bytes, more than {limit}", file.path.display(), file.bytes)),
    }
}
