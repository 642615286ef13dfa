//! The page at `/`: the files of `server/page`, which are inside the program. docs/browser.md says what it does.

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};

/// The page runs its own files and asks its own server, nothing else; no text becomes HTML or a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_bytes!(concat!("../page/", $name)).as_slice())),*] };
}

const FILES: &[(&str, &[u8])] = files! {
    "index.html" "icon.svg" "style.css" "parts.css" "over.css" "messages.css" "prose.css"
    "api.js" "app.js" "composer.js" "conversation.js" "dialogs.js" "dom.js" "generate.js" "highlight.js" "icons.js" "inline.js"
    "keeper.js" "keys.js" "layout.js" "markdown.js" "messages.js" "panel.js" "paper.js" "render.js" "sidebar.js" "store.js"
    "theme.js" "welcome.js"
};

/// Whether a path is the page's. It holds no secret, and asks for the key itself.
pub fn has(path: &str) -> bool {
    path == "/" || path.starts_with("/page/")
}

pub async fn index() -> Response {
    file("index.html").unwrap_or_default()
}

pub async fn part(Path(name): Path<String>, method: Method, uri: Uri) -> Response {
    match file(&name) {
        Some(response) => response,
        None => crate::api::unknown_url(method, uri).await,
    }
}

fn file(name: &str) -> Option<Response> {
    let (_, content) = FILES.iter().find(|(own, _)| *own == name)?;
    let headers = [
        (CONTENT_TYPE, kind(name)),
        // Another version of the program has another page.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Some((headers, *content).into_response())
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_page_is_in_the_program() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
        let mut names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut known: Vec<&str> = super::FILES.iter().map(|(name, _)| *name).collect();
        names.sort();
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
