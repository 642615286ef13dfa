//! The page at `/`: what the server says of it, and the page itself in a real browser (`tests/page`, which `tests/fetch-clients.sh` and
//! the system's packages give what they need).

use std::path::{Path, PathBuf};
use std::process::Command;

use tc_server::Options;

use super::support::{engine_options, serve, start};

#[test]
fn the_page_and_its_files_need_no_key_and_may_run_nothing_else() {
    let service = serve(&engine_options(), Options { api_keys: vec!["secret".into()], ..Options::default() });
    for (path, kind) in [("/", "text/html"), ("/page/app.js", "text/javascript"), ("/page/style.css", "text/css")] {
        let answer = service.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let page = service.get("/", &[]).text;
    for file in page.split('"').filter(|value| value.starts_with("page/")) {
        assert_eq!(service.get(&format!("/{file}"), &[]).status, 200, "{file}");
    }
    for path in ["/page/", "/page/none.js", "/page/..%2fCargo.toml", "/page/a/b"] {
        let answer = service.get(path, &[("authorization", "Bearer secret")]);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &"unknown_url".into()), "{path}");
    }
    assert_eq!(service.get("/v1/models", &[]).status, 401);
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/page")
}

/// Runs Node, if it is there.
fn node(command: &mut Command) {
    if Command::new("node").arg("--version").output().is_err() {
        println!("skipped: node is missing");
        return;
    }
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{out}");
    assert!(output.status.success(), "{out}{err}");
}

#[test]
fn markdown_and_conversations_are_read() {
    let files = ["markdown.test.mjs", "conversation.test.mjs"].map(|name| tests().join(name));
    node(Command::new("node").arg("--test").args(files));
}

#[test]
fn the_page_does_what_is_done_with_it() {
    let Some(folder) = std::env::var_os("TCC_TEST_CLIENTS").map(PathBuf::from) else {
        println!("skipped: TCC_TEST_CLIENTS is not set (see tests/fetch-clients.sh)");
        return;
    };
    let browser = PathBuf::from(std::env::var_os("CHROMIUM").unwrap_or("/usr/bin/chromium".into()));
    for needed in [&browser, &folder.join("node_modules/playwright-core"), &folder.join("node_modules/axe-core")] {
        if !needed.exists() {
            println!("skipped: {} is missing (see tests/fetch-clients.sh)", needed.display());
            return;
        }
    }
    let service = start();
    node(
        Command::new("node").arg(tests().join("page.mjs")).arg(service.url("/")).arg(&folder).env("CHROMIUM", &browser),
    );
}
