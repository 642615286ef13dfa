//! The installed library from C and C++: compiled with what compilers there are, under sanitizers, and watched by valgrind.
//!
//! What a machine lacks is skipped, and said.

mod debuggers;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tcc_core::export::{ExportOptions, export};
use tcc_core::synth::{Dtype, synth};
use tools::{Compiler, available, run, run_with_input, skip};

/// An installation, and a model to run, as both kinds of artifact.
struct World {
    prefix: PathBuf,
    program: PathBuf,
    native: PathBuf,
    scratch: PathBuf,
    _folder: tempfile::TempDir,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("prefix");
        xtask::dist::install(&prefix, "release").unwrap();
        let checkpoint = folder.path().join("checkpoint");
        synth("tiny", &checkpoint, Dtype::F32, &|_, _| {}).unwrap();
        let [program, native] = ["tiny.pte", "tiny.so"].map(|name| exported(&checkpoint, folder.path().join(name)));
        World { prefix, program, native, scratch: folder.path().to_path_buf(), _folder: folder }
    })
}

fn exported(checkpoint: &Path, output: PathBuf) -> PathBuf {
    let options = ExportOptions { chat_template: Some("llama2".to_string()), ..ExportOptions::default() };
    export(checkpoint, &output, options).unwrap();
    output
}

fn source(path: &str) -> PathBuf {
    xtask::root().join(path)
}

impl World {
    /// Compiles a program, against the shared library or the static one.
    fn compile(&self, compiler: &Compiler, from: &Path, flags: &[&str], how: Link) -> PathBuf {
        let stem = from.file_stem().unwrap().to_string_lossy();
        let name = format!("{stem}-{}{}{}", compiler.program, flags.concat().replace(['=', ','], "-"), how.name());
        let program = self.scratch.join(name);
        let mut command = Command::new(compiler.program);
        command.args(compiler.standard).args(["-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(flags);
        command.arg("-I").arg(self.prefix.join("include")).arg(from).arg("-o").arg(&program);
        match how {
            Link::Shared => {
                let lib = self.prefix.join("lib");
                command.arg("-L").arg(&lib).arg("-ltcrt").arg(format!("-Wl,-rpath,{}", lib.display()));
            }
            Link::Static => {
                command.arg(self.prefix.join("lib/libtcrt.a")).args(["-lgcc_s", "-lpthread", "-lm", "-ldl"]);
            }
        }
        run(command.arg("-pthread"));
        program
    }
}

#[derive(Clone, Copy)]
enum Link {
    Shared,
    Static,
}

impl Link {
    fn name(self) -> &'static str {
        match self {
            Link::Shared => "-shared",
            Link::Static => "-static",
        }
    }
}

const SANITIZERS: [&[&str]; 3] =
    [&[], &["-fsanitize=address", "-fno-omit-frame-pointer"], &["-fsanitize=undefined", "-fno-sanitize-recover=all"]];

/// Every compiler with every sanitizer it can link.
fn for_every_build(compilers: &[Compiler], mut test: impl FnMut(&Compiler, &[&str])) {
    for compiler in compilers {
        for flags in SANITIZERS {
            match compiler.can(flags) {
                true => test(compiler, flags),
                false => skip(&format!("{} {}", compiler.program, flags.join(" "))),
            }
        }
    }
}

#[test]
fn the_abi_holds_from_c() {
    let world = world();
    for_every_build(&Compiler::C, |compiler, flags| {
        let program = world.compile(compiler, &source("xtask/tests/c_abi/abi.c"), flags, Link::Shared);
        for (model, other) in [(&world.program, &world.native), (&world.native, &world.program)] {
            run(Command::new(&program).arg(model).arg(&world.scratch).arg(other));
        }
    });
}

#[test]
fn the_wrapper_holds_from_cpp() {
    let world = world();
    for_every_build(&Compiler::CPP, |compiler, flags| {
        let program = world.compile(compiler, &source("xtask/tests/c_abi/wrapper.cpp"), flags, Link::Shared);
        run(Command::new(program).arg(&world.program));
    });
}

#[test]
fn the_wrapper_compiles_without_exceptions() {
    for compiler in Compiler::CPP.iter().filter(|compiler| compiler.can(&[])) {
        let mut command = Command::new(compiler.program);
        command.args(compiler.standard).args(["-fno-exceptions", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
        run(command.args(["-x", "c++"]).arg(source("runtime/include/tcrt.hpp")));
    }
}

#[test]
fn the_c_example_runs() {
    let world = world();
    for how in [Link::Shared, Link::Static] {
        let program = world.compile(&Compiler::C[0], &source("examples/c/generate.c"), &[], how);
        let reply = |model: &Path| run(Command::new(&program).arg(model).arg("Once"));
        assert!(!reply(&world.program).is_empty());
        assert_eq!(reply(&world.program), reply(&world.native), "the seed is fixed");
    }
    let program = world.compile(&Compiler::C[0], &source("examples/c/generate.c"), &[], Link::Shared);
    let failed = Command::new(program).args(["/no/such/model", "Once"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("/no/such/model: "));
}

#[test]
fn the_cpp_example_is_found_by_cmake_and_chats() {
    let world = world();
    if !available("cmake") {
        return skip("the C++ example: there is no cmake");
    }
    for_every_build(&Compiler::CPP, |compiler, flags| {
        let build = world.scratch.join(format!("chat-{}{}", compiler.program, flags.concat()));
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(source("examples/cpp")).arg("-B").arg(&build);
        configure.arg(format!("-DCMAKE_PREFIX_PATH={}", world.prefix.display()));
        configure.arg(format!("-DCMAKE_CXX_COMPILER={}", compiler.program));
        run(configure.arg(format!("-DCMAKE_CXX_FLAGS={}", flags.join(" "))));
        run(Command::new("cmake").arg("--build").arg(&build));
        let saved = build.join("chat.session");
        let input =
            format!("Hi\n/stats\n/save {0}\n/undo\n/load {0}\n/stats\n/load /no/such/file\n\n", saved.display());
        for model in [&world.program, &world.native] {
            let mut chat = Command::new(build.join("chat"));
            let output = run_with_input(chat.arg(model).arg("Be brief."), &input);
            assert!(output.contains("tokens, ") && output.contains("reused"), "{output}");
        }
        assert!(saved.exists());
    });
}

#[test]
fn nothing_leaks_over_load_generate_unload() {
    let world = world();
    let program = world.compile(&Compiler::C[0], &source("xtask/tests/c_abi/loop.c"), &[], Link::Shared);
    let models = [&world.program, &world.native];
    for model in models {
        run(Command::new(&program).arg(model).arg("50"));
    }
    if !available("valgrind") {
        return skip("the leak check: there is no valgrind");
    }
    for model in models {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--leak-check=full", "--error-exitcode=9"]);
        valgrind.arg("--errors-for-leak-kinds=definite,indirect,possible");
        run(valgrind.arg(&program).arg(model).arg("4"));
    }
}

#[test]
fn pkg_config_describes_the_installation() {
    let world = world();
    if !available("pkg-config") {
        return skip("tcrt.pc: there is no pkg-config");
    }
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", world.prefix.join("lib/pkgconfig")).args(["--cflags", "--libs", "tcrt"]);
    let flags = run(&mut command);
    assert!(flags.contains("-ltcrt") && flags.contains("/include"), "{flags}");
}

#[test]
fn the_installed_command_line_runs() {
    let world = world();
    let mut tcrt = Command::new(world.prefix.join("bin/tcrt"));
    let output = tcrt.arg("info").arg(&world.program).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::symlink_metadata(world.prefix.join("lib/libtcrt.so")).unwrap().is_symlink());
}
