//! Other people's clients against the server: OpenAI's for Python and Node, and lm-evaluation-harness. They are programs of their own
//! (`tests/clients`), which run where `tests/fetch-clients.sh` has put what they need.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tc_server::{Options, Server, engine};
use tcc_core::export::{ExportOptions, export};
use tcrt::Model;

const MODEL: &str = "smollm2";

fn folder(variable: &str, script: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {variable} is not set (see tests/{script})");
    }
    folder
}

fn model(checkpoint: &Path) -> std::sync::Arc<Model> {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("model.pte");
    let options = ExportOptions { ..ExportOptions::default() };
    export(checkpoint, &output, options).unwrap();
    // The mapped file outlives its name.
    Model::load(&output).unwrap()
}

/// Runs a client if it has what it needs.
fn run(needs: &Path, command: &mut Command) {
    if !needs.exists() {
        println!("skipped: {} is missing (see tests/fetch-clients.sh)", needs.display());
        return;
    }
    let output = command.env("HF_HUB_OFFLINE", "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{out}");
    assert!(output.status.success(), "{command:?}: {err}");
}

#[test]
fn clients_of_others_are_served() {
    let (Some(models), Some(clients)) =
        (folder("TCC_TEST_MODELS", "fetch-models.sh"), folder("TCC_TEST_CLIENTS", "fetch-clients.sh"))
    else {
        return;
    };
    let checkpoint = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let models = vec![(MODEL.to_owned(), model(&checkpoint))];
    let server = Server::new(models, &engine::Options::default(), Options::default()).unwrap();
    let running = server.spawn(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let base = format!("http://{}/v1", running.address());
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients").join(name);
    let (python, packages) = (clients.join("venv/bin/python"), site_packages(&clients));
    let with_python = |name: &str| {
        let mut command = Command::new(&python);
        command.arg(script(name)).args([&base, MODEL]);
        command
    };
    run(&packages.join("openai"), &mut with_python("openai_client.py"));
    let mut node = Command::new("node");
    node.arg(script("openai_client.mjs")).args([&base, MODEL]).arg(&clients);
    run(&clients.join("node_modules/openai"), &mut node);
    run(&packages.join("lm_eval"), with_python("lm_eval_client.py").arg(&checkpoint));
}

fn site_packages(clients: &Path) -> PathBuf {
    let lib = clients.join("venv/lib");
    let python = std::fs::read_dir(&lib).ok().and_then(|mut entries| entries.next()?.ok());
    python.map_or(lib, |python| python.path()).join("site-packages")
}
