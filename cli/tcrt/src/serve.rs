//! `tcrt serve`: models behind OpenAI's API, and a page.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tc_server::{Options, Server, engine, serve_until_interrupted};

use crate::args::Listen;
use crate::open;
use crate::output::{Failure, Result, failure, note};

/// Serves these models, each under its name, until it is interrupted. `ready` is told where, when clients can connect.
pub fn serve(models: Vec<(String, PathBuf)>, args: &Listen, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let open = |(name, file): (String, PathBuf)| Ok((name, open::model(&file)?));
    let models = models.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    let server = Server::new(models, &engine_options(args), options(args)?)?;
    let address = SocketAddr::new(args.host, args.port);
    let cannot = |error| Failure::Line(format!("cannot listen at {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    for (id, context, bytes) in server.models() {
        note(format_args!("{id}: {context} positions, at most {:.1} GB of memory", bytes as f64 / 1e9));
    }
    note(format_args!("serving at http://{address}/v1, a page to talk at http://{address}/ (Ctrl-C ends)"));
    ready(address);
    let stopping = || note("finishing the answers that run; Ctrl-C again ends at once");
    serve_until_interrupted(server, listener, stopping).map_err(|error| Failure::Line(format!("{address}: {error}")))
}

pub fn serve_files(files: &[PathBuf], args: &Listen) -> Result<()> {
    let named = files.iter().map(|file| Ok((name(file)?, file.clone())));
    serve(named.collect::<Result<_>>()?, args, |_| ())
}

/// What requests call a model: its file's name without the ending.
pub fn name(file: &Path) -> Result<String> {
    match file.file_stem() {
        Some(stem) => Ok(stem.to_string_lossy().into_owned()),
        None => failure(format!("{}: is not a file", file.display())),
    }
}

fn engine_options(args: &Listen) -> engine::Options {
    let engine = open::engine_options(&args.engine);
    let default = engine::Options::default();
    engine::Options {
        threads: engine.threads,
        context: engine.context,
        chunk: args.engine.chunk.unwrap_or(default.chunk),
        kv_dtype: engine.kv_dtype,
        concurrency: args.max_concurrency.into(),
        queue: args.max_queue.into(),
        kept: if args.keep == 0 { 0 } else { default.kept },
        kept_bytes: u64::from(args.keep) << 20,
        ..default
    }
}

fn options(args: &Listen) -> Result<Options> {
    let mut api_keys = args.api_key.clone();
    if api_keys.is_empty() {
        api_keys.extend(std::env::var("TCRT_API_KEY"));
    }
    if api_keys.iter().any(|key| key.trim().is_empty()) {
        return failure("an API key is empty");
    }
    let timeout = (args.timeout > 0).then(|| Duration::from_secs(args.timeout));
    Ok(Options { api_keys, cors: args.cors.clone(), body_limit: usize::from(args.max_body) << 20, timeout })
}
