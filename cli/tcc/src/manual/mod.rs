//! What is known of a program from its arguments alone: completions for shells, man pages, the reference in `docs/cli`.

mod markdown;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use tcrt_cli::output::{Result, failure, show};

use crate::args::{Cli, Completions, Form, Manual, Program};

pub fn completions(args: &Completions) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command(args.program), args.program.name(), &mut text);
    show(text)
}

pub fn manual(args: &Manual) -> Result<()> {
    let written = Program::ALL.into_iter().try_for_each(|program| match args.form {
        Form::Markdown => {
            let text = markdown::page(command(program));
            in_folder(&args.folder, |folder| fs::write(folder.join(format!("{}.md", program.name())), text))
        }
        Form::Man => in_folder(&args.folder, |folder| clap_mangen::generate_to(command(program), folder)),
        Form::Completions => installed_completions(program, &args.folder),
    });
    written.or_else(|error| failure(format!("{}: {error}", args.folder.display())))
}

/// Below `share`, where each shell looks for them.
fn installed_completions(program: Program, share: &Path) -> io::Result<()> {
    let name = program.name();
    for (shell, folder, file) in [
        (Shell::Bash, "bash-completion/completions", name.to_string()),
        (Shell::Zsh, "zsh/site-functions", format!("_{name}")),
        (Shell::Fish, "fish/vendor_completions.d", format!("{name}.fish")),
    ] {
        in_folder(&share.join(folder), |folder| {
            let mut file = File::create(folder.join(file))?;
            clap_complete::generate(shell, &mut command(program), name, &mut file);
            Ok(())
        })?;
    }
    Ok(())
}

fn in_folder(folder: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write(folder)
}

fn command(program: Program) -> clap::Command {
    match program {
        Program::Tcc => Cli::command(),
        // What `tcrt serve` takes is another program's to read.
        Program::Tcrt => tcrt_cli::args::Cli::command()
            .mut_subcommand("serve", |_| tcrt_cli::args::Serve::command().name("serve").version(None)),
    }
}
